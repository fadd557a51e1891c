<?php
// Writes a row, and reads through memcached: what a page of the shop does. Every wait has a bound, so that a
// visitor gets an answer, or an error, within two seconds.
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
try {
    $db = mysqli_init();
    $db->options(MYSQLI_OPT_CONNECT_TIMEOUT, 1);
    $db->options(MYSQLI_OPT_READ_TIMEOUT, 2);
    $db->real_connect('10.77.0.51', 'app', 'lab', 'shop'); // the floating address: the master
    $insert = $db->prepare('INSERT INTO t (v) VALUES (?)');
    $insert->execute([$_GET['v'] ?? uniqid()]);

    $cache = new Memcached();
    $cache->setOptions([Memcached::OPT_CONNECT_TIMEOUT => 100, Memcached::OPT_SEND_TIMEOUT => 100000, Memcached::OPT_RECV_TIMEOUT => 100000]);
    $cache->addServers(include '/var/lib/hbagent/templates/memcached.php'); // those that answer, by hbagent
    $rows = $cache->get('rows');
    $from = 'memcached';
    if ($rows === false) { // not there, or no cache: the database knows
        $rows = $db->query('SELECT COUNT(*) FROM t')->fetch_row()[0];
        $cache->set('rows', $rows, 1);
        $from = 'database';
    }
} catch (mysqli_sql_exception $e) {
    http_response_code(503);
    header('Retry-After: 1');
    exit("no database: {$e->getMessage()}\n");
}
header('Content-Type: text/plain');
echo gethostname(), ": $rows rows, from the $from\n";
