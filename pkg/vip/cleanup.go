package vip

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Cleanup removes the addresses that the record in runDir names and the tables of the gate, except for the groups
// that spare says (nil: none), and returns what it took away. While a group is spared the tables stay: the
// others are shut in them. Connections that were draining are reset. Addresses that are not recorded are never
// touched, nor are recorded ones on
// another interface or with another length. A record that cannot be read (ErrCorruptRecord) removes nothing:
// every address of ours has a lifetime, and goes by itself within a few seconds. It needs CAP_NET_ADMIN,
// and is meant for a machine on which no agent runs, or where those groups are spared that it holds; tables
// that a running agent owns stay (ErrGateForeign).
func Cleanup(runDir string, spare func(group string) bool) ([]Removed, error) {
	if spare == nil {
		spare = func(string) bool { return false }
	}
	r, err := loadRecord(runDir)
	if err != nil {
		return nil, err
	}
	if err := CheckCapabilities(); err != nil {
		return nil, err
	}
	k, err := newKernel()
	if err != nil {
		return nil, err
	}
	defer k.Close()
	return cleanup(k, r, spare)
}

func cleanup(k kernel, r *record, spare func(group string) bool) ([]Removed, error) {
	spared := false
	var entries []entry
	for _, g := range r.groups() {
		if spare(g) {
			spared = true
			continue
		}
		entries = append(entries, r.of(g)...)
	}
	// Connections that cannot be told are no reason to leave the rest.
	reset := resetDrained(k, entries)
	switch {
	case errors.Is(reset, errNoDestroy) || errors.Is(reset, errNoDiag):
		reset = nil
	case reset != nil:
		reset = fmt.Errorf("vip: %w", reset)
	}
	removed, err := r.sweep(k, entries)
	if err != nil {
		return removed, errors.Join(reset, err) // an address that stays needs the gate
	}
	tables, err := cleanupGate(TableName, r.groups(), spare, spared)
	return append(removed, tables...), errors.Join(reset, err)
}

// cleanupGate removes the tables, or shuts every group in them but the spared ones. known are names of groups, for what
// is named after one in a way that nft can read.
func cleanupGate(table string, known []string, spare func(group string) bool, spared bool) ([]Removed, error) {
	s, err := newNFTSocket()
	if err != nil {
		return nil, nil // no nf_tables, no tables
	}
	defer s.close()
	have, err := tablesOf(s, table)
	if errors.Is(err, unix.EINVAL) { // the same, as some kernels say it
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("vip: gate: %w", err)
	}
	live, err := liveGroups(s, table, have)
	if err != nil {
		return nil, fmt.Errorf("vip: gate: %w", err)
	}
	b := &batch{table: table}
	for _, l := range live {
		known = append(known, l.group)
		if spare(l.group) {
			spared = true
			continue
		}
		b.addElements(l.family, l.set, 0, l.elements) // it may end before the transaction
		b.delElements(l.family, l.set, l.elements)
	}
	if spared {
		if len(b.starts) > 0 {
			err = s.commit(b)
		}
		have = nil
	} else {
		err = removeTables(s, table)
	}
	if err == nil {
		err = sweepHandovers(s, func(plain string) bool {
			return spare(plain) || slices.ContainsFunc(known, func(g string) bool { return plainName(g) == plain && spare(g) })
		})
	}
	if errors.Is(err, unix.EPERM) {
		err = ErrGateForeign
	}
	if err != nil {
		return nil, fmt.Errorf("vip: gate: %w", err)
	}
	var removed []Removed
	for _, f := range have {
		removed = append(removed, Removed{Table: f.String() + " " + table})
	}
	return removed, nil
}
