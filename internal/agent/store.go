package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hbagent/hbagent/internal/config"
	"github.com/hbagent/hbagent/pkg/lease"
)

// Names in the run directory, which a boot empties, and in the state
// directory, which outlives it.
const (
	lockName    = "lock"
	recordName  = "lease.json"
	stateName   = "agent.json"
	historyName = "events.jsonl"

	maintenanceName = "maintenance.json"
)

// ErrRunning: another agent has the run directory.
var ErrRunning = errors.New("another agent is running")

// runRecord is what a restarted agent needs, and only within the same boot.
type runRecord struct {
	BootID string       `json:"boot_id"`
	Record lease.Record `json:"record"`
}

// store keeps the lease record. It belongs to the loop.
type store struct {
	path   string
	bootID string
}

// LockRunDir makes sure that one agent at a time uses a run directory. The lock
// goes with the process, however it ends.
func LockRunDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the run directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w with run directory %s: stop it first, or give this one its own --run-dir", ErrRunning, dir)
		}
		return nil, fmt.Errorf("lock the run directory: %w", os.NewSyscallError("flock", err))
	}
	return f, nil
}

// load returns the record of an earlier run of this boot, nil if there is none.
// A record that cannot be read is no record: the voter then goes into
// quarantine, which is always safe.
func (s *store) load() (*lease.Record, error) {
	r, err := readRecord(s.path)
	if err != nil || r == nil || r.BootID != s.bootID {
		return nil, err
	}
	return &r.Record, nil
}

func readRecord(path string) (*runRecord, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lease record: %w", err)
	}
	var r runRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("lease record %s: %w", path, err)
	}
	return &r, nil
}

// save replaces the record. It is lost with a boot anyway, so nothing is synced.
func (s *store) save(r lease.Record) error {
	return writeJSON(s.path, runRecord{BootID: s.bootID, Record: r}, nil)
}

// ResumableGroups returns the groups that an agent started now on this run
// directory would try to resume: `hbagent cleanup` spares them when systemd is
// about to start the agent again.
func ResumableGroups(runDir string) ([]string, error) {
	id, err := bootID()
	if err != nil {
		return nil, err
	}
	s := store{path: filepath.Join(runDir, recordName), bootID: id}
	r, err := s.load()
	if err != nil || r == nil {
		return nil, err
	}
	var groups []string
	for _, h := range r.Holds {
		groups = append(groups, h.Group)
	}
	return groups, nil
}

// machineState outlives a boot. It is written at each start, and when the list of
// voters changes.
type machineState struct {
	Incarnation uint64        `json:"incarnation"`
	TTL         time.Duration `json:"ttl_ns"`
	Voters      []string      `json:"voters,omitempty"`
	Generation  uint64        `json:"generation,omitempty"` // of Voters, the list in force
}

// readState returns what the last run left, the zero value if there was none.
func readState(dir string) (last machineState, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return last, fmt.Errorf("state directory: %w", err)
	}
	path := filepath.Join(dir, stateName)
	b, err := os.ReadFile(path)
	if err == nil {
		// A damaged file is treated as none: the wall clock stands in for it.
		_ = json.Unmarshal(b, &last)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return last, fmt.Errorf("state directory: %w", err)
	}
	if last.TTL < 0 || last.TTL > lease.MaxTTL {
		last.TTL = lease.MaxTTL
	}
	return last, nil
}

// next is the state of the run that follows s, and begins with a list. It must be written before the
// first message: an incarnation is used once, whatever happens later.
func (s machineState) next(cfg *config.Config, list voterList, now time.Time) machineState {
	return machineState{
		Incarnation: max(uint64(max(now.UnixNano(), 0)), s.Incarnation+1), TTL: cfg.Lease.TTL,
		Voters: list.voters, Generation: list.generation,
	}
}

func (s machineState) write(dir string) error {
	err := writeJSON(filepath.Join(dir, stateName), s, (*os.File).Sync)
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return nil
}

// checkVoters holds the list of voters of a config against that of the last run.
// One step away, two majorities always meet; further away two nodes could each
// have one.
func (s machineState) checkVoters(cfg *config.Config) error {
	if s.Generation == 0 {
		return nil // the first run
	}
	if err := (voterList{s.Voters, s.Generation}).to(listOf(cfg)).Check(); err != nil {
		return fmt.Errorf("%s: the list of voters is not one step from that of this agent's last run (%s, generation %d): %w; "+
			"when every agent of the old list is stopped, start each once with --new-voters",
			cfg.File, strings.Join(s.Voters, ", "), s.Generation, err)
	}
	return nil
}

// syncDir makes a rename outlive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeJSON replaces a file in one step; sync may be nil.
func writeJSON(path string, v any, sync func(*os.File) error) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && sync != nil {
		err = sync(f)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
