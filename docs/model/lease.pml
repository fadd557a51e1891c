/*
 * The lease of pkg/lease in Promela: three voters, two of which (0 and 1) are
 * also candidates and holders; one group; no witness. README.md says what each
 * part stands for in the Go code, what is left out, and how to run it.
 *
 * Everything is one process: each turn of its loop is one call of a Machine (one
 * node, one message or wish), one tick of time, or one fault. A stalled
 * process is one that is not chosen; the kernel's gate goes on counting.
 * All times are countdowns in ticks, so no clock grows without bound.
 */

#ifndef TTL
#define TTL 3			/* ticks */
#endif
#ifndef MARGIN
#define MARGIN 1
#endif
#ifndef MAXEPOCH
#define MAXEPOCH 3		/* nobody asks for more */
#endif
#ifndef SLOTS
#define SLOTS 2			/* datagrams kept for each direction of a pair */
#endif
#ifndef TRANSFERS
#define TRANSFERS 0
#endif
#ifndef RESTARTS
#define RESTARTS 0		/* of an agent, within one boot */
#endif
#ifndef BOOTS
#define BOOTS 0			/* of a machine: no record, no gate */
#endif
#ifdef LOST_AFTER		/* one kind of run only: a boot once that epoch is established, */
#define BOOTWHEN (established == LOST_AFTER && phase[1] == IDLE)
#define RESTARTWHEN (boots == 0)	/* and a restart after it */
#elif defined(FORGET_AFTER)	/* no time passes, and a restart once the target of a transfer has the lease */
#define BOOTWHEN true
#define RESTARTWHEN (made == TRANSFERS && phase[1] == HOLDING)
#else
#define BOOTWHEN true
#define RESTARTWHEN true
#endif
#ifndef PAUSES
#define PAUSES 0		/* Machine.Paused, Confirm */
#endif
#ifndef QUORUM
#define QUORUM 2
#endif
#ifdef DRIFT
#define FAST (TTL - 1)		/* a ttl by a voter's clock that runs fast */
#else
#define FAST TTL
#endif

#define VALIDITY (TTL - MARGIN)	/* counted from before the request left */
#define ASKING ((TTL + 1) / 2)	/* an acquisition asks for ttl/2 */

#define IDLE 0			/* phases, as in group.go */
#define ACQUIRING 1
#define HOLDING 2
#define CONFIRMING 3

/* ---- voters: type promise. A holder is a node's number + 1; 0 is free. */
byte holder[3], prun[3], pepoch[3], pinc[3], deadline[3], highest[3], quarantine[3];

/* ---- candidates and holders: type group */
byte phase[2], epoch[2], asking[2], ticket[2];
byte valid[6];			/* [3*node + voter]: what is left of its grant */
byte used[2];			/* max(usedTicket, won) */
byte runid[2], inc[2];		/* run id, incarnation */
byte record[2];			/* hold record in the run directory: the epoch */
byte gate[2];			/* the kernel's: time until it shuts by itself */

/* ---- the tickets that were ever made; ticket i is "i + 1" in requests */
#if TRANSFERS > 0
byte made;
byte tfrom[TRANSFERS], trun[TRANSFERS], tepoch[TRANSFERS];
byte ttorun[TRANSFERS], ttoepoch[TRANSFERS];
#define FROM(t) tfrom[(t) - 1]
#endif

/*
 * ---- the network. A link goes from a candidate to another node's voter, and
 * keeps the newest SLOTS of the datagrams sent, oldest first; any may be late,
 * lost or repeated. A voter takes only what is newer than what it took last, so
 * "taken" counts the datagrams at the front that are of no use any more
 * (unless the voter restarts and forgets). Answers: only a grant to a
 * request of the present claim can count; of those in flight from one voter the
 * best is kept, by what it would leave.
 */
#define LINK(n, v) ((n) == 0 -> (v) - 1 : 2 + ((v) >> 1))
short wire[4 * SLOTS];
byte taken[4];
byte grant[4];

/* A datagram: what a grant to it would leave; kind; epoch; Valid; ticket;
 * run id; incarnation. */
#define REQUEST 1
#define RELEASE 2
#define TRANSFER 3
#define LEFT(m) ((m) & 3)
#define KIND(m) (((m) >> 2) & 3)
#define EPOCH(m) (((m) >> 4) & 7)
#define VALID(m) (((m) >> 7) & 1)
#define TICKET(m) (((m) >> 8) & 3)
#define RUN(m) (((m) >> 10) & 3)
#define INC(m) (((m) >> 12) & 7)
#define DATAGRAM(kind, left, e, ok, t, r, i) \
	((left) | ((kind) << 2) | ((e) << 4) | ((ok) << 7) | ((t) << 8) | ((r) << 10) | ((i) << 12))

/* ---- the world */
byte asked;			/* highest epoch that anybody has asked for */
byte wall = 1;			/* lowest epoch that wall clocks allow */
byte established, by, byrun;	/* the newest lease that was ever valid, and whose */
byte restarts = RESTARTS, boots = BOOTS, pauses = PAUSES;

/* Scratch, used within one d_step only and so not part of a state. */
hidden byte i, j, k, x, y, lk;
hidden short msg;
hidden byte ok, renewal, byticket;

#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define COUNTED(n) ((valid[3*(n)] > 0) + (valid[3*(n)+1] > 0) + (valid[3*(n)+2] > 0))
#define ENOUGH(n, d) ((valid[3*(n)] >= (d)) + (valid[3*(n)+1] >= (d)) + (valid[3*(n)+2] >= (d)) >= QUORUM)
#define VALIDNOW(n) (phase[n] == HOLDING && COUNTED(n) >= QUORUM)
/* Machine.lapse runs before anything else that a node does. */
#define LAPSED(n) (phase[n] == HOLDING && COUNTED(n) < QUORUM)
#define AWAKE(v) ((v) == 2 || !LAPSED((v) & 1))
#define CLAIMS(n) (phase[n] >= HOLDING)
#define KEEPS (restarts + boots > 0)

/* ================ network ================ */

inline push(n, v, m) {
	lk = LINK(n, v);
	x = 0;
	do
	:: x < SLOTS && wire[lk*SLOTS + x] != 0 -> x++
	:: else -> break
	od;
	if
	:: x == SLOTS ->	/* full: the oldest is lost */
		x = 0;
		do
		:: x < SLOTS - 1 -> wire[lk*SLOTS + x] = wire[lk*SLOTS + x + 1]; x++
		:: else -> break
		od;
		if
		:: taken[lk] > 0 -> taken[lk]--
		:: else
		fi
	:: else
	fi;
	wire[lk*SLOTS + x] = m
}

/* the first c datagrams of a link are gone for good */
inline purge(l, c) {
	k = c;
	do
	:: k > 0 ->
		x = 0;
		do
		:: x < SLOTS - 1 -> wire[(l)*SLOTS + x] = wire[(l)*SLOTS + x + 1]; x++
		:: else -> break
		od;
		wire[(l)*SLOTS + SLOTS - 1] = 0;
		k--
	:: else -> break
	od;
	taken[l] = 0
}

/* group.floor: what was asked before does not count any more */
inline floor(n) {
	x = 0;
	do
	:: x < 2 ->
		lk = 2*n + x;
		grant[lk] = 0;
		y = 0;
		do
		:: y < SLOTS -> wire[lk*SLOTS + y] = wire[lk*SLOTS + y] & 32764; y++
		:: else -> break
		od;
		x++
	:: else -> break
	od
}

/* ================ voter.go ================ */

#define IS(v, n, r, e) (holder[v] == (n) + 1 && prun[v] == (r) && pepoch[v] == (e))
#define RUNNING(v) (holder[v] != 0 && deadline[v] > 0)

/* voter.request; ok is the answer */
inline request(v, n, r, i_, e, isvalid, t, ttl) {
	renewal = IS(v, n, r, e);
	byticket = 0;
#if TRANSFERS > 0
	if
	:: (t) > 0 -> byticket = ((e) > highest[v] && IS(v, tfrom[(t)-1], trun[(t)-1], tepoch[(t)-1]))
	:: else
	fi;
#endif
	ok = 1;
	if
	:: quarantine[v] > 0 -> ok = 0
#ifdef BUG_HIGHER
	:: RUNNING(v) && !renewal && !byticket && (e) <= highest[v] -> ok = 0
#else
	:: RUNNING(v) && !renewal && !byticket -> ok = 0
#endif
#ifndef BUG_LATE_VALID
	:: renewal && (e) < highest[v] && !(isvalid) -> ok = 0
#endif
	:: !renewal && !byticket && (e) <= highest[v] && !(isvalid) -> ok = 0
	:: else
	fi;
	if
	:: ok ->
#ifdef REACH_BELOW
		assert(renewal || (e) >= highest[v]);
#endif
		holder[v] = (n) + 1; prun[v] = r; pepoch[v] = e; pinc[v] = i_;
		highest[v] = MAX(highest[v], e);
		deadline[v] = ttl
	:: else
	fi
}

#ifdef BUG_SEQUENCE
#define OLDRUN(v, i_) 0
#else
#define OLDRUN(v, i_) ((i_) < pinc[v])
#endif

/* voter.release */
inline release(v, n, r, i_, e) {
	if
	:: IS(v, n, r, e) && !OLDRUN(v, i_) ->
		holder[v] = 0; prun[v] = 0; pepoch[v] = 0; pinc[v] = 0; deadline[v] = 0
	:: else
	fi
}

/* voter.transfer of ticket t */
inline transfer(v, n, r, i_, e, t, ttl) {
#if TRANSFERS > 0
	if
	:: quarantine[v] == 0 && IS(v, n, r, e) && !OLDRUN(v, i_) && ttoepoch[(t)-1] > highest[v] ->
		holder[v] = 2 - (n); prun[v] = ttorun[(t)-1]; pepoch[v] = ttoepoch[(t)-1]; pinc[v] = 0;
		highest[v] = ttoepoch[(t)-1];
		deadline[v] = ttl
	:: else
	fi
#else
	skip
#endif
}

/* Machine.vote: slot s of the link from n reaches the voter v */
#ifdef BUG_SEQUENCE
#define DUE(n, v, s) (wire[LINK(n, v)*SLOTS + s] != 0 && AWAKE(v))
#elif defined(BUG_COUNTER)
#define DUE(n, v, s) (wire[LINK(n, v)*SLOTS + s] != 0 && AWAKE(v))
#else
#define DUE(n, v, s) (wire[LINK(n, v)*SLOTS + s] != 0 && s >= taken[LINK(n, v)] && AWAKE(v))
#endif

inline arrive(n, v, s, ttl) {
	j = LINK(n, v);
	msg = wire[j*SLOTS + s];
#if !defined(BUG_SEQUENCE) && !defined(BUG_COUNTER)
	if
	:: KEEPS -> taken[j] = s + 1
	:: else -> purge(j, s + 1)
	fi;
#endif
	if
	:: KIND(msg) == REQUEST ->
		request(v, n, RUN(msg), INC(msg), EPOCH(msg), VALID(msg), TICKET(msg), ttl);
		if
		:: ok && LEFT(msg) > grant[j] -> grant[j] = LEFT(msg)
		:: else
		fi
	:: KIND(msg) == RELEASE -> release(v, n, RUN(msg), INC(msg), EPOCH(msg))
	:: KIND(msg) == TRANSFER -> transfer(v, n, RUN(msg), INC(msg), EPOCH(msg), TICKET(msg), ttl)
	:: else
	fi
}

/* ================ group.go, candidate.go, holder.go ================ */

/* A resumed lease and a ticket keep their epochs over the boot of a voter: see
 * README.md, "What it found". */
#if defined(EXCUSE_BOOTS) && BOOTS > 0
#define FORGOTTEN boots < BOOTS
#else
#define FORGOTTEN false
#endif

/* Machine.decide and Machine.win: the gate opens, or stays open, until the
 * quorum-th largest of the individual times */
inline decide(n) {
	if
	:: phase[n] != IDLE && COUNTED(n) >= QUORUM ->
		if
		:: phase[n] != HOLDING ->
#ifdef REACH_TAKEOVER
			assert(n == 0);
#endif
#ifdef REACH_CONFIRM
			assert(phase[n] == ACQUIRING);
#endif
#ifdef REACH_TICKET
			assert(ticket[n] == 0);
#endif
#ifndef ONLY_TWO_GATES
			/* invariant 4 */
			assert(FORGOTTEN || epoch[n] > established || (epoch[n] == established && by == n + 1 && byrun == runid[n]));
#endif
			established = epoch[n]; by = n + 1; byrun = runid[n];
			phase[n] = HOLDING;
			record[n] = epoch[n];
			asking[n] = 0;
			ticket[n] = 0;
#if TRANSFERS > 0
			used[n] = MAX(used[n], epoch[n]);
#endif
		:: else
		fi;
		x = VALIDITY;
		do
		:: !ENOUGH(n, x) -> x--
		:: else -> break
		od;
		gate[n] = x
	:: else
	fi
}

/* a request to the node's own voter is answered on the spot */
inline ownvote(n) {
	request(n, n, runid[n], inc[n], epoch[n], VALIDNOW(n), ticket[n], TTL);
	if
	:: ok -> valid[3*n + n] = VALIDITY
	:: else
	fi;
	decide(n)
}

/* Machine.begin */
inline begin(n, p, e, time) {
	phase[n] = p; epoch[n] = e; asking[n] = time;
	record[n] = (p == CONFIRMING -> e : 0);
	valid[3*n] = 0; valid[3*n+1] = 0; valid[3*n+2] = 0;
	floor(n);
	asked = MAX(asked, e);
	ownvote(n)
}

/* Machine.leave */
inline leave(n) {
	phase[n] = IDLE; asking[n] = 0; ticket[n] = 0; record[n] = 0;
	valid[3*n] = 0; valid[3*n+1] = 0; valid[3*n+2] = 0;
	floor(n);
#ifndef FIX_ASKED
	/* of an idle node's epoch only what its own voter does not know matters */
	if
	:: epoch[n] <= highest[n] -> epoch[n] = 0
	:: else
	fi
#endif
}

/* invariant 3, wherever a release or a transfer leaves */
#ifdef ONLY_TWO_GATES
#define LETGO(n)
#else
#define LETGO(n) assert(gate[n] == 0 && record[n] == 0)
#endif
#define OTHER(n) (1 - (n))

/* Machine.drop and giveUp; a and b: whether the two datagrams are sent or lost */
inline drop(n, a, b) {
	y = epoch[n];
#ifndef BUG_SHUT_LATE
	gate[n] = 0;
#endif
	j = y;
	leave(n);
	LETGO(n);
	release(n, n, runid[n], inc[n], j);
	if :: a -> push(n, OTHER(n), DATAGRAM(RELEASE, 0, j, 0, 0, runid[n], inc[n])) :: else fi;
	if :: b -> push(n, 2, DATAGRAM(RELEASE, 0, j, 0, 0, runid[n], inc[n])) :: else fi
}

/* candidateTick, acquire, newEpoch. The lowest number is what the node knows
 * itself; up to asked + 1, it has heard of the others' by a refusal. The first
 * to ask is node 0: the other case is its mirror image. */
#define MAYACQUIRE(n, e) (phase[n] == IDLE && quarantine[n] == 0 && !RUNNING(n) && \
	e > highest[n] && e > epoch[n] && e >= wall && (e <= asked + 1 || e == wall) && (n == 0 || asked > 0))

/* ask: one more request to voter v. Rounds of a lease are much shorter than a
 * tick, so each of its questions comes with one to its own voter. */
#define MAYASK(n, v) ((phase[n] == HOLDING && !LAPSED(n) || asking[n] > 0) && valid[3*(n) + v] < VALIDITY && grant[LINK(n, v)] < VALIDITY)

/* ... or the other voters' datagrams are lost; a candidate asks its own voter
 * again only if it was refused */
#define MAYASKSELF(n) (VALIDNOW(n) && valid[3*n+n] < VALIDITY || phase[n] == CONFIRMING && asking[n] > 0 && valid[3*n+n] < VALIDITY || \
	phase[n] == ACQUIRING && asking[n] > 0 && valid[3*n+n] == 0)

inline ask(n, v) {
	if
	:: CLAIMS(n) -> ownvote(n)
	:: else
	fi;
	msg = DATAGRAM(REQUEST, VALIDITY, epoch[n], VALIDNOW(n), ticket[n], runid[n], inc[n]);
	j = LINK(n, v);
	/* the same once more in the same tick is no news */
	ok = 0;
	k = taken[j];
	do
	:: k < SLOTS -> ok = ok || (wire[j*SLOTS + k] == msg); k++
	:: else -> break
	od;
	if
	:: !ok -> push(n, v, msg)
	:: else
	fi
}

inline granted(n, v) {
	j = LINK(n, v);
#ifdef BUG_FROM_REPLY
	valid[3*n + v] = VALIDITY;
#else
	valid[3*n + v] = MAX(valid[3*n + v], grant[j]);
#endif
	grant[j] = 0;
	decide(n)
}

/* Machine.Paused and Confirm */
inline pause(n) {
	pauses--;
	gate[n] = 0;
	begin(n, CONFIRMING, epoch[n], TTL)
}

/* ================ transfer.go ================ */

#if TRANSFERS > 0
#define MAYTRANSFER(n, e) (made < TRANSFERS && VALIDNOW(n) && e > epoch[n] && e > highest[n] && e >= wall && (e <= asked + 1 || e == wall))

inline handover(n, e, a, b) {
	tfrom[made] = n; trun[made] = runid[n]; tepoch[made] = epoch[n];
	ttorun[made] = runid[OTHER(n)]; ttoepoch[made] = e;
	made++;
	asked = MAX(asked, e);
	j = epoch[n];
#ifndef BUG_SHUT_LATE
	gate[n] = 0;
#endif
	leave(n);
	LETGO(n);
	epoch[n] = e;		/* group.highest */
	transfer(n, n, runid[n], inc[n], j, made, TTL);
#ifndef FIX_ASKED
	if
	:: epoch[n] <= highest[n] -> epoch[n] = 0
	:: else
	fi;
#endif
	if :: a -> push(n, OTHER(n), DATAGRAM(TRANSFER, 0, j, 0, made, runid[n], inc[n])) :: else fi;
	if :: b -> push(n, 2, DATAGRAM(TRANSFER, 0, j, 0, made, runid[n], inc[n])) :: else fi
}

/* A ticket that was made may arrive at any time, and again and again. */
#ifdef BUG_TICKET_TWICE
#define MAYTAKE(n, t) (t <= made && tfrom[t-1] == OTHER(n) && ttorun[t-1] == runid[n] && !LAPSED(n))
#elif defined(FIX_ASKED)
/* not for an epoch that this run of the agent has asked for or declined: what
 * it released once it never asks for again */
#define MAYTAKE(n, t) (t <= made && tfrom[t-1] == OTHER(n) && ttorun[t-1] == runid[n] && ttoepoch[t-1] > used[n] && ttoepoch[t-1] > epoch[n] && phase[n] == IDLE)
#else
#define MAYTAKE(n, t) (t <= made && tfrom[t-1] == OTHER(n) && ttorun[t-1] == runid[n] && ttoepoch[t-1] > used[n] && phase[n] == IDLE)
#endif

inline takeover(n, t) {
	used[n] = ttoepoch[t-1];
	ticket[n] = t;
	begin(n, ACQUIRING, ttoepoch[t-1], ASKING)
}

inline decline(n, t, a, b) {
	used[n] = ttoepoch[t-1];
#ifdef FIX_ASKED
	epoch[n] = MAX(epoch[n], ttoepoch[t-1]);
#endif
	LETGO(n);
	release(n, n, runid[n], inc[n], ttoepoch[t-1]);
	j = ttoepoch[t-1];
	if :: a -> push(n, OTHER(n), DATAGRAM(RELEASE, 0, j, 0, 0, runid[n], inc[n])) :: else fi;
	if :: b -> push(n, 2, DATAGRAM(RELEASE, 0, j, 0, 0, runid[n], inc[n])) :: else fi
}
#endif

/* ================ faults ================ */

/* links that lead to v are 2, 0 and (1, 3): the voter forgets sequences */
inline forget(v) {
	if
	:: v == 0 -> taken[2] = 0
	:: v == 1 -> taken[0] = 0
	:: else -> taken[1] = 0; taken[3] = 0
	fi;
	/* nobody will forget again: what was taken is of no use any more */
	if
	:: !KEEPS ->
		i = 0;
		do
		:: i < 4 -> purge(i, taken[i]); i++
		:: else -> break
		od
	:: else
	fi
}

/* voter.restore and Machine.resume: the process died and is back, its
 * kernel's gate still counts, each promise may have been renewed just now */
inline restartvoter(v, ttl) {
	restarts--;
#ifdef BUG_RECORD_LOST
	holder[v] = 0; prun[v] = 0; pepoch[v] = 0; pinc[v] = 0; deadline[v] = 0;
#endif
#ifndef BUG_RAN_OUT
	if
	:: holder[v] != 0 -> deadline[v] = ttl
	:: else
	fi;
#else
	deadline[v] = 0;
#endif
	forget(v)
}

inline restart(n, ttl) {
	restartvoter(n, ttl);
	inc[n]++;
	ticket[n] = 0;
	used[n] = 0;
	if
	:: record[n] != 0 ->
#if TRANSFERS > 0
		used[n] = record[n];
#endif
		begin(n, CONFIRMING, record[n], TTL)
	:: else -> epoch[n] = 0; leave(n)
	fi
}

inline bootvoter(v, ttl) {
	boots--;
	holder[v] = 0; prun[v] = 0; pepoch[v] = 0; pinc[v] = 0; deadline[v] = 0; highest[v] = 0;
#ifdef BUG_NO_QUARANTINE
	quarantine[v] = 0;
#else
	quarantine[v] = ttl;
#endif
	/* a boot takes longer than the wall clock needs to pass the epochs in use */
	wall = MAX(wall, asked + 1);
	forget(v)
}

inline boot(n, ttl) {
	bootvoter(n, ttl);
	gate[n] = 0;
	runid[n]++; inc[n]++;
	used[n] = 0;
	epoch[n] = 0;
	leave(n)
}

/*
 * Datagrams that can have no effect any more, whatever happens, are taken out.
 * That changes nothing but the number of states:
 * a voter refuses a request below its highest epoch that does not say Valid, for
 * ever (unless it loses its memory). A release or a transfer is for a promise
 * that the voter has, or gets by an older datagram, or by a ticket; once it has
 * left, its sender never asks for that epoch again otherwise.
 */
#ifdef BUG_LATE_VALID
#define DEADREQUEST(v) false
#else
#define DEADREQUEST(v) (KIND(msg) == REQUEST && !VALID(msg) && EPOCH(msg) < highest[v] && boots == 0)
#endif
#define NOTHERE(n, v) (y == 0 && !IS(v, n, RUN(msg), EPOCH(msg)))
#if TRANSFERS == 0
#define DEADOTHER(n, v) (KIND(msg) != REQUEST && NOTHERE(n, v))
#elif TRANSFERS == 1
#define DEADOTHER(n, v) (KIND(msg) != REQUEST && NOTHERE(n, v) && made == 1 && EPOCH(msg) != ttoepoch[0])
#else
#define DEADOTHER(n, v) (KIND(msg) != REQUEST && NOTHERE(n, v) && made == 2 && EPOCH(msg) != ttoepoch[0] && EPOCH(msg) != ttoepoch[1])
#endif
inline sweep() {
	i = 0;
	do
	:: i < 4 ->
		k = (i == 0 -> 1 : (i == 2 -> 0 : 2));
		j = 0; y = 0;
		do
		:: j < SLOTS && wire[i*SLOTS + j] != 0 ->
			msg = wire[i*SLOTS + j];
			if
			:: DEADREQUEST(k) || DEADOTHER(i >> 1, k) ->
				wire[i*SLOTS + j] = 0;
				x = j;
				do
				:: x < SLOTS - 1 -> wire[i*SLOTS + x] = wire[i*SLOTS + x + 1]; x++
				:: else -> break
				od;
				wire[i*SLOTS + SLOTS - 1] = 0;
				if
				:: j < taken[i] -> taken[i]--
				:: else
				fi
			:: else -> j++; y = 1
			fi
		:: else -> break
		od;
		i++
	:: else -> break
	od
}

inline down(c) { if :: c > 0 -> c-- :: else fi }

inline tick() {
	i = 0;
	do
	:: i < 3 -> down(deadline[i]); down(quarantine[i]); i++
	:: else -> break
	od;
	i = 0;
	do
	:: i < 2 ->
		down(asking[i]);
#ifndef BUG_GATE_WAITS
		down(gate[i]);
#endif
		i++
	:: else -> break
	od;
	i = 0;
	do
	:: i < 6 -> down(valid[i]); i++
	:: else -> break
	od;
	i = 0;
#ifndef BUG_FROM_REPLY
	do
	:: i < 4 -> down(grant[i]); i++
	:: else -> break
	od;
	i = 0;
	do
	:: i < 4*SLOTS ->
		if
		:: LEFT(wire[i]) > 0 -> wire[i] = wire[i] - 1
		:: else
		fi;
		i++
	:: else -> break
	od
#else
	skip
#endif
}

/* ================ what must hold after every step ================ */

/* invariant 2, for node n and voter v: who has counted a grant is promised the
 * group for at least as long, by a voter that remembers it or keeps quiet */
#define OUTLIVES(n, v) (valid[3*(n)+(v)] == 0 || quarantine[v] >= valid[3*(n)+(v)] || \
	(IS(v, n, runid[n], epoch[n]) && deadline[v] >= valid[3*(n)+(v)]))

inline check() {
	assert(!(gate[0] > 0 && gate[1] > 0));	/* invariant 1 */
#ifndef ONLY_TWO_GATES
	assert(OUTLIVES(0, 0) && OUTLIVES(0, 1) && OUTLIVES(0, 2));
	assert(OUTLIVES(1, 0) && OUTLIVES(1, 1) && OUTLIVES(1, 2));
#endif
	assert(asked < 8 && highest[0] <= asked && highest[1] <= asked && highest[2] <= asked)
}

/* ================ what may happen ================ */

/* the name of each step, for a trace: see README.md */
#define TELL(step) printf(#step)
#define STEP(guard, action) :: guard -> d_step { TELL(action\n); action; skip }

#define ACQUIRE(n, e) STEP(MAYACQUIRE(n, e) && e <= MAXEPOCH, begin(n, ACQUIRING, e, ASKING))
#define DROP(n, a, b) STEP(phase[n] != IDLE, drop(n, a, b))
#if SLOTS == 1
#define ARRIVE(n, v, ttl) STEP(DUE(n, v, 0), arrive(n, v, 0, ttl))
#elif SLOTS == 2
#define ARRIVE(n, v, ttl) STEP(DUE(n, v, 0), arrive(n, v, 0, ttl)) STEP(DUE(n, v, 1), arrive(n, v, 1, ttl))
#else
#define ARRIVE(n, v, ttl) STEP(DUE(n, v, 0), arrive(n, v, 0, ttl)) STEP(DUE(n, v, 1), arrive(n, v, 1, ttl)) STEP(DUE(n, v, 2), arrive(n, v, 2, ttl))
#endif
#define WISH(n, v) STEP(MAYASK(n, v), ask(n, v)) STEP(grant[LINK(n, v)] > 0 && phase[n] != IDLE && !LAPSED(n), granted(n, v))

#define NODE(n, o) \
	ACQUIRE(n, 1) ACQUIRE(n, 2) ACQUIRE(n, 3) ACQUIRE(n, 4) ACQUIRE(n, 5) ACQUIRE(n, 6) \
	STEP(MAYASKSELF(n), ownvote(n)) \
	WISH(n, o) WISH(n, 2) \
	DROP(n, 0, 0) DROP(n, 0, 1) DROP(n, 1, 0) DROP(n, 1, 1) \
	STEP(phase[n] == HOLDING && pauses > 0, pause(n))

#define HANDOVER(n, e, a, b) STEP(MAYTRANSFER(n, e) && e <= MAXEPOCH, handover(n, e, a, b))
#define HANDOVERS(n, e) HANDOVER(n, e, 0, 0) HANDOVER(n, e, 0, 1) HANDOVER(n, e, 1, 0) HANDOVER(n, e, 1, 1)
#define TAKE(n, t) STEP(MAYTAKE(n, t), takeover(n, t)) \
	STEP(MAYTAKE(n, t), decline(n, t, 0, 0)) STEP(MAYTAKE(n, t), decline(n, t, 0, 1)) \
	STEP(MAYTAKE(n, t), decline(n, t, 1, 0)) STEP(MAYTAKE(n, t), decline(n, t, 1, 1))

active proctype world() {
	do :: atomic {
	if
	NODE(0, 1)
	NODE(1, 0)
	ARRIVE(0, 1, TTL) ARRIVE(0, 2, TTL) ARRIVE(1, 0, TTL) ARRIVE(1, 2, TTL)
#ifdef DRIFT
	ARRIVE(0, 1, FAST) ARRIVE(0, 2, FAST) ARRIVE(1, 0, FAST) ARRIVE(1, 2, FAST)
#endif
#if TRANSFERS > 0
	HANDOVERS(0, 2) HANDOVERS(0, 3) HANDOVERS(0, 4) HANDOVERS(0, 5)
	HANDOVERS(1, 2) HANDOVERS(1, 3) HANDOVERS(1, 4) HANDOVERS(1, 5)
	TAKE(0, 1) TAKE(1, 1)
#if TRANSFERS > 1
	TAKE(0, 2) TAKE(1, 2)
#endif
#endif
#if RESTARTS > 0
	STEP(restarts > 0 && RESTARTWHEN, restart(0, TTL))
	STEP(restarts > 0 && RESTARTWHEN, restart(1, TTL))
	STEP(restarts > 0 && RESTARTWHEN, restartvoter(2, TTL))
#ifdef DRIFT
	STEP(restarts > 0 && RESTARTWHEN, restart(0, FAST))
	STEP(restarts > 0 && RESTARTWHEN, restart(1, FAST))
	STEP(restarts > 0 && RESTARTWHEN, restartvoter(2, FAST))
#endif
#endif
#if BOOTS > 0
	STEP(boots > 0 && BOOTWHEN, boot(0, FAST))
	STEP(boots > 0 && BOOTWHEN, boot(1, FAST))
	STEP(boots > 0 && BOOTWHEN, bootvoter(2, FAST))
#ifdef DRIFT
	STEP(boots > 0 && BOOTWHEN, boot(0, TTL))
	STEP(boots > 0 && BOOTWHEN, boot(1, TTL))
	STEP(boots > 0 && BOOTWHEN, bootvoter(2, TTL))
#endif
#endif
#ifndef FORGET_AFTER
	STEP(true, tick())
#endif
	fi;
	d_step { sweep(); check(); skip }
	} od
}
