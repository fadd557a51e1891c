package vip

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Chosen by us.
const (
	recordName    = "addresses.json"
	recordVersion = 1
	// maxRecordBytes bounds what is read back: maxAddresses entries of some 120 bytes, twice over.
	maxRecordBytes = 1 << 20
)

// entry is one address that is, or may be, in the kernel because of us.
type entry struct {
	Group     string     `json:"group"`
	Interface string     `json:"interface"`
	Address   netip.Addr `json:"address"`
}

type recordFile struct {
	Version   int     `json:"version"`
	Addresses []entry `json:"addresses"`
}

// record is the list of what is ours, in memory and in the run directory. It is written before an address is
// added and after it was deleted, so whatever a crash leaves in the kernel is in the file. The file is
// not synced to disk: it describes a kernel that does not outlive a power cut either.
type record struct {
	path string

	mu      sync.Mutex
	entries []entry
	lines   map[entry][]byte // as they stand in the file: it is written once for every group that opens or ends
}

// loadRecord reads the record of runDir. A missing file is an empty record.
func loadRecord(runDir string) (*record, error) {
	r := &record{path: filepath.Join(runDir, recordName)}
	info, err := os.Stat(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, nil
	case err != nil:
		return nil, fmt.Errorf("vip: %w", err)
	case !info.Mode().IsRegular() || info.Size() > maxRecordBytes:
		return r, fmt.Errorf("vip: %w: %s is no file of at most %d bytes", ErrCorruptRecord, r.path, maxRecordBytes)
	}
	b, err := os.ReadFile(r.path)
	if err != nil {
		return nil, fmt.Errorf("vip: %w", err)
	}
	var f recordFile
	if err := json.Unmarshal(b, &f); err != nil {
		return r, fmt.Errorf("vip: %w: %s: %w", ErrCorruptRecord, r.path, err)
	}
	if f.Version != recordVersion {
		return r, fmt.Errorf("vip: %w: %s has version %d, this program knows %d", ErrCorruptRecord, r.path, f.Version, recordVersion)
	}
	for _, e := range f.Addresses {
		if e.Group == "" || e.Interface == "" || !e.Address.IsValid() || e.Address.Zone() != "" {
			return r, fmt.Errorf("vip: %w: %s: incomplete entry %+v", ErrCorruptRecord, r.path, e)
		}
	}
	r.entries = f.Addresses
	return r, nil
}

// setAside renames a record that cannot be read, for whoever wants to know why.
func (r *record) setAside() error {
	if err := os.Rename(r.path, r.path+".corrupt"); err != nil {
		return fmt.Errorf("vip: %w", err)
	}
	return nil
}

// empty: nothing in the kernel is ours.
func (r *record) empty() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.entries) == 0
}

// of are the entries of one group.
func (r *record) of(group string) []entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []entry
	for _, e := range r.entries {
		if e.Group == group {
			out = append(out, e)
		}
	}
	return out
}

// others are the entries of a group that it would not have today.
func (r *record) others(g Group) []entry {
	today := make(map[entry]bool)
	for _, e := range g.entries() {
		today[e] = true
	}
	return slices.DeleteFunc(r.of(g.Name), func(e entry) bool { return today[e] })
}

// groups are the names that have entries, each once.
func (r *record) groups() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.entries {
		if !slices.Contains(out, e.Group) {
			out = append(out, e.Group)
		}
	}
	return out
}

// add writes entries down. When it fails, nothing may be added to the kernel.
func (r *record) add(entries []entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := make(map[entry]bool, len(r.entries))
	for _, e := range r.entries {
		have[e] = true
	}
	next := slices.Clone(r.entries)
	for _, e := range entries {
		if !have[e] {
			next = append(next, e)
		}
	}
	return r.replace(next)
}

// drop forgets entries that are no longer in the kernel.
func (r *record) drop(entries []entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	gone := make(map[entry]bool, len(entries))
	for _, e := range entries {
		gone[e] = true
	}
	next := slices.DeleteFunc(slices.Clone(r.entries), func(e entry) bool { return gone[e] })
	return r.replace(next)
}

// replace writes next in the place of the old file, whole or not at all. The caller holds mu.
func (r *record) replace(next []entry) error {
	if slices.Equal(next, r.entries) {
		return nil
	}
	b, err := r.text(next)
	if err != nil {
		return fmt.Errorf("vip: record: %w", err)
	}
	tmp := r.path + ".tmp"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return fmt.Errorf("vip: record: %w", err)
	}
	if err := os.Rename(tmp, r.path); err != nil {
		return fmt.Errorf("vip: record: %w", err)
	}
	r.entries = next
	return nil
}

// text is the file, a recordFile with each entry on a line of its own. The caller holds mu.
func (r *record) text(entries []entry) ([]byte, error) {
	lines := make(map[entry][]byte, len(entries))
	b := fmt.Appendf(nil, `{"version": %d, "addresses": [`, recordVersion)
	for i, e := range entries {
		line := r.lines[e]
		if line == nil {
			var err error
			if line, err = json.Marshal(e); err != nil {
				return nil, err
			}
		}
		lines[e] = line
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, '\n'), line...)
	}
	r.lines = lines
	return append(b, "\n]}\n"...), nil
}

// sweep deletes the entries from the kernel, exactly: this address with its full length on the interface of
// that name, where it is. Entries that could not be deleted stay in the record. What was taken away is
// returned with the errors of the rest.
func (r *record) sweep(k kernel, entries []entry) ([]Removed, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	have, err := k.Addresses()
	if err != nil {
		return nil, fmt.Errorf("vip: %w", err)
	}
	present := make(map[placed]bool, len(have))
	for _, p := range have {
		present[p] = true
	}
	links := make(map[string]int)
	var removed []Removed
	var done []entry
	var errs []error
	for _, e := range entries {
		index, known := links[e.Interface]
		if !known {
			l, err := k.Link(e.Interface)
			if err != nil && !errors.Is(err, ErrNoInterface) {
				errs = append(errs, fmt.Errorf("vip: %s: %w", e.Interface, err))
				continue
			}
			index = l.Index // 0 where the interface is gone, and the address with it
			links[e.Interface] = index
		}
		if index != 0 && present[placed{index, host(e.Address)}] {
			if err := k.Remove(index, e.Address); err != nil {
				errs = append(errs, fmt.Errorf("vip: removing %v from %s: %w", e.Address, e.Interface, err))
				continue
			}
			removed = append(removed, Removed{Group: e.Group, Interface: e.Interface, Addr: e.Address})
		}
		done = append(done, e)
	}
	if err := r.drop(done); err != nil {
		errs = append(errs, err)
	}
	return removed, errors.Join(errs...)
}

// entries are the group's addresses as the record has them.
func (g Group) entries() []entry {
	return entriesOf(g.Name, g.Interface, g.addrs())
}

func entriesOf(group, iface string, addrs []netip.Addr) []entry {
	out := make([]entry, len(addrs))
	for i, a := range addrs {
		out[i] = entry{Group: group, Interface: iface, Address: a}
	}
	return out
}
