package vip

import (
	"errors"
	"fmt"
)

// Cleanup removes the addresses that the record in runDir names, except for the groups that spare says (nil: none),
// and returns what it took away. Addresses that are not recorded are never touched, nor are recorded ones on
// another interface or with another length. A record that cannot be read (ErrCorruptRecord) removes nothing:
// every address of ours has a lifetime, and goes by itself within a few seconds. It needs CAP_NET_ADMIN,
// and is meant for a machine on which no agent runs, or where those groups are spared that it holds.
func Cleanup(runDir string, spare func(group string) bool) ([]Removed, error) {
	r, err := loadRecord(runDir)
	if err != nil {
		return nil, err
	}
	groups := r.groups()
	if len(groups) == 0 {
		return nil, nil
	}
	if err := CheckCapabilities(); err != nil {
		return nil, err
	}
	k, err := newKernel()
	if err != nil {
		return nil, err
	}
	defer k.Close()
	return cleanup(r, k, groups, spare)
}

func cleanup(r *record, k kernel, groups []string, spare func(group string) bool) ([]Removed, error) {
	var entries []entry
	for _, g := range groups {
		if spare == nil || !spare(g) {
			entries = append(entries, r.of(g)...)
		}
	}
	if err := resetDrained(k, entries); err != nil && !errors.Is(err, errNoDestroy) {
		return nil, fmt.Errorf("vip: %w", err)
	}
	return r.sweep(k, entries)
}
