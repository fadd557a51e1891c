package keepalived

// needless are keywords whose meaning is gone with VRRP, or is what hbagent does anyway: nothing is lost with them.
var needless = set(
	// global_defs
	"enable_script_security", "script_user", "script_security", "vrrp_skip_check_adv_addr", "vrrp_strict", "vrrp_garp_interval", "vrrp_gna_interval",
	"vrrp_garp_master_delay", "vrrp_garp_master_repeat", "vrrp_garp_master_refresh", "vrrp_garp_master_refresh_repeat", "vrrp_garp_lower_prio_delay",
	"vrrp_garp_lower_prio_repeat", "vrrp_mcast_group4", "vrrp_mcast_group6", "vrrp_version", "vrrp_check_unicast_src", "vrrp_higher_prio_send_advert",
	"vrrp_lower_prio_no_advert", "vrrp_priority", "vrrp_no_swap", "vrrp_rt_priority", "vrrp_rlimit_rttime", "vrrp_rx_bufs_policy", "vrrp_rx_bufs_multiplier",
	"vrrp_iptables", "vrrp_nftables", "vrrp_ipsets", "nftables", "nftables_priority", "nftables_counters", "dynamic_interfaces", "process_names", "process_name",
	"vrrp_process_name", "use_pid_dir", "max_auto_priority", "min_auto_priority_delay", "umask", "disable_local_igmp", "reload_check_config", "reload_repeat",
	"config_save_dir", "tmp_config_directory", "vrrp_min_garp", "vrrp_startup_delay", "vrrp_cpu_affinity", "log_unknown_vrids", "child_wait_time",
	"checker_process_name", "default_interface", "keep_script_running", "lvs_id",
	// top level
	"garp_group", "linkbeat_use_polling", "linkbeat_interfaces", "instance", "vrrp_garp_group",
	// vrrp_instance and vrrp_sync_group
	"mcast_dst_ip", "version", "garp_master_delay", "garp_master_repeat", "garp_master_refresh", "garp_master_refresh_repeat", "garp_lower_prio_delay",
	"garp_lower_prio_repeat", "accept", "preempt", "skip_check_adv_addr", "strict_mode", "native_ipv6", "unicast_ttl", "check_unicast_src",
	"lower_prio_no_advert", "higher_prio_send_advert", "promote_secondaries", "old_unicast_checksum", "unicast_fault_no_peer", "debug", "kernel_rx_buf_size",
	"global_tracking", "sync_group_tracking_weight", "down_timer_adverts",
)

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}

const noMail = "no mail is sent: let your monitor run hbagent status, or a hook send one"

const balancing = "hbagent does not balance load: let nginx or haproxy do it, or a keepalived whose config has no vrrp_instance"

// topLost are blocks outside vrrp_instance that say something that is lost, and why.
var topLost = map[string]string{
	"virtual_server":           balancing,
	"virtual_server_group":     balancing,
	"SSL":                      balancing,
	"static_ipaddress":         "addresses that stay belong into the network's own config (networkd, NetworkManager, netplan, ifupdown)",
	"static_routes":            "routes that stay belong into the network's own config",
	"static_rules":             "rules that stay belong into the network's own config",
	"track_group":              "it belongs to static addresses",
	"vrrp_track_file":          "a file's number is no check: write a script that exits with 0 or 1, type = \"exec\"",
	"track_file":               "a file's number is no check: write a script that exits with 0 or 1, type = \"exec\"",
	"bfd_instance":             "BFD is not spoken; type = \"arp\" asks a neighbour",
	"interface_up_down_delays": "a cable that is out fails at once; fall does not delay a check of type link",
	"net_namespace":            "run the agent in the namespace: NetworkNamespacePath= in a drop-in of its unit",
	"net_namespace_ipvs":       balancing,
}

var globalLost = map[string]string{
	"lvs_sync_daemon":         "connections are not mirrored; a planned move lets the old owner finish its own (handover = \"drain\")",
	"lvs_timeouts":            balancing,
	"lvs_flush":               balancing,
	"lvs_flush_onstop":        balancing,
	"lvs_flush_on_stop":       balancing,
	"startup_script":          "nothing runs at the agent's start: ExecStartPre= in a drop-in of its unit does",
	"shutdown_script":         "nothing runs at the agent's stop: ExecStopPost= in a drop-in of its unit does",
	"notify_fifo":             "there is no FIFO: hbagent events --follow --json tells every change",
	"vrrp_notify_fifo":        "there is no FIFO: hbagent events --follow --json tells every change",
	"notify_fifo_script":      "there is no FIFO: hbagent events --follow --json tells every change",
	"vrrp_notify_fifo_script": "there is no FIFO: hbagent events --follow --json tells every change",
	"snmp_socket":             "there is no SNMP; hbagent status --json and its exit codes are for monitors",
	"enable_snmp_vrrp":        "there is no SNMP; hbagent status --json and its exit codes are for monitors",
	"enable_snmp_keepalived":  "there is no SNMP; hbagent status --json and its exit codes are for monitors",
	"enable_snmp_checker":     "there is no SNMP; hbagent status --json and its exit codes are for monitors",
	"enable_dbus":             "there is no D-Bus service; hbagent status --json says the same",
	"enable_traps":            "there is no SNMP; hbagent status --json and its exit codes are for monitors",
}

// instanceLost are keys of vrrp_instance and vrrp_sync_group.
var instanceLost = map[string]string{
	"use_vmac":                   "the address keeps the card's MAC, and its new owner announces it at once, several times; virtual MACs are not made",
	"use_vmac_addr":              "virtual MACs are not made",
	"vmac_xmit_base":             "virtual MACs are not made",
	"use_ipvlan":                 "no interface is made: the address is added to the one that is there",
	"vrf":                        "VRFs are not chosen: name an interface of it",
	"virtual_routes":             "routes do not move with an address: on_active can start a unit that sets them (docs/hooks.md)",
	"virtual_rules":              "rules do not move with an address: on_active can start a unit that sets them (docs/hooks.md)",
	"no_accept":                  "an owner answers for its address",
	"track_file":                 "a file's number is no check: write a script that exits with 0 or 1, type = \"exec\"",
	"track_bfd":                  "BFD is not spoken; type = \"arp\" asks a neighbour",
	"track_src_ip":               "the agent hears its own silence: without a majority it lets go",
	"smtp_alert":                 noMail,
	"lvs_sync_daemon_interface":  "connections are not mirrored; a planned move lets the old owner finish its own (handover = \"drain\")",
	"lvs_sync_daemon_inteface":   "connections are not mirrored; a planned move lets the old owner finish its own (handover = \"drain\")",
	"notify_priority_changes":    "there are no priorities that change",
	"notify_master_rx_lower_pri": "two machines never own an address at once: there is nothing to run",
	"notify_deleted":             "there is nothing to run when a group is taken out of the config",
	"garp_extra_if":              "announcements go out on the interface of the group",
	"smtp_alert_vrrp":            noMail,
}
