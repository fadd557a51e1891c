package config

import (
	"reflect"
	"strings"
	"time"
)

// setting is one key of the file: what was written, and where. Values are read but
// not yet judged.
type setting[T any] struct {
	value T
	state state
	key   span // the key
	at    span // the value; if unset, the header of the table that lacks it
}

type state int

const (
	unset  state = iota // not in the file: the default holds
	given               // read
	broken              // in the file, wrong type or form: reported already, do not judge it
)

func (s *setting[T]) given() bool   { return s.state == given }
func (s *setting[T]) written() bool { return s.state != unset }

// or returns the value, or def if there is none.
func (s *setting[T]) or(def T) T {
	if s.state == given {
		return s.value
	}
	return def
}

// texts is a list of texts, each with its place.
type texts []setting[string]

func (ts texts) plain() []string {
	out := make([]string, 0, len(ts))
	for _, t := range ts {
		out = append(out, t.value)
	}
	return out
}

// interfaces is either one name for all, or a table with a name per node.
type interfaces struct {
	all   string
	nodes []nodeInterface // sorted by node name; nil if all is used
}

type nodeInterface struct {
	node  string
	key   span
	iface setting[string]
}

// listens is what every node listens on, or a table with that of each.
type listens struct {
	all   texts
	nodes []nodeListen // sorted by node name; nil if all is used
}

type nodeListen struct {
	node string
	key  span
	on   setting[texts]
}

// The structs below are the schema: a key that has no field here does not exist.
// Every one of them is in reference.toml, with its meaning.

type rawFile struct {
	// spoiled are the tables that are in the file, but not readably (a misspelled header,
	// one bracket in place of two): that they are missing is then no news.
	spoiled map[string]bool

	At        span          // of the header
	Cluster   rawCluster    `toml:"cluster"`
	Lease     rawLease      `toml:"lease"`
	HTTP      rawHTTP       `toml:"http"`
	Nodes     []rawNode     `toml:"node"`
	Checks    []rawCheck    `toml:"check"`
	Groups    []rawGroup    `toml:"group"`
	Templates []rawTemplate `toml:"template"`
}

type rawCluster struct {
	At       span            // of the header
	Name     setting[string] `toml:"name"`
	KeyFile  setting[string] `toml:"key_file"`
	Insecure setting[bool]   `toml:"insecure"`
	Port     setting[int64]  `toml:"port"`
}

type rawLease struct {
	At         span                   // of the header
	TTL        setting[time.Duration] `toml:"ttl"`
	Generation setting[int64]         `toml:"generation"`
	Witness    setting[string]        `toml:"witness"`
	Gate       setting[string]        `toml:"gate"`
}

type rawHTTP struct {
	At     span             // of the header
	Listen setting[listens] `toml:"listen"`
	Hosts  setting[texts]   `toml:"hosts"`
}

type rawNode struct {
	At      span            // of the header
	Name    setting[string] `toml:"name"`
	Address setting[string] `toml:"address"`
	Voter   setting[bool]   `toml:"voter"`
}

type rawCheck struct {
	At         span                   // of the header
	Name       setting[string]        `toml:"name"`
	Type       setting[string]        `toml:"type"`
	URL        setting[string]        `toml:"url"`
	Address    setting[string]        `toml:"address"`
	DSNFile    setting[string]        `toml:"dsn_file"`
	Command    setting[texts]         `toml:"command"`
	Unit       setting[string]        `toml:"unit"`
	Interface  setting[string]        `toml:"interface"`
	Target     setting[string]        `toml:"target"`
	Body       setting[string]        `toml:"body"`
	Status     setting[int64]         `toml:"status"`
	Saturated  setting[time.Duration] `toml:"saturated"`
	MaxBusy    setting[int64]         `toml:"max_busy"`
	MaxActive  setting[int64]         `toml:"max_active"`
	MaxDropped setting[int64]         `toml:"max_dropped"`
	MaxLag     setting[time.Duration] `toml:"max_lag"`
	MaxThreads setting[int64]         `toml:"max_threads"`
	ReadOnly   setting[string]        `toml:"read_only"`
	Interval   setting[time.Duration] `toml:"interval"`
	Timeout    setting[time.Duration] `toml:"timeout"`
	Fall       setting[int64]         `toml:"fall"`
	Rise       setting[int64]         `toml:"rise"`
	Required   setting[bool]          `toml:"required"`
	Nodes      setting[texts]         `toml:"nodes"`
}

type rawGroup struct {
	At          span                   // of the header
	Name        setting[string]        `toml:"name"`
	Addresses   setting[texts]         `toml:"addresses"`
	Interface   setting[interfaces]    `toml:"interface"`
	Nodes       setting[texts]         `toml:"nodes"`
	Checks      setting[texts]         `toml:"checks"`
	Failback    setting[bool]          `toml:"failback"`
	Hold        setting[time.Duration] `toml:"hold"`
	Handover    setting[string]        `toml:"handover"`
	Drain       setting[time.Duration] `toml:"drain"`
	MaxMoves    setting[string]        `toml:"max_moves"`
	OnActive    setting[texts]         `toml:"on_active"`
	OnStandby   setting[texts]         `toml:"on_standby"`
	OnFault     setting[texts]         `toml:"on_fault"`
	HookTimeout setting[time.Duration] `toml:"hook_timeout"`
	Role        setting[string]        `toml:"role"`
	MySQL       rawMySQL               `toml:"mysql"`
}

type rawMySQL struct {
	At                 span                   // of the header; zero if there is none
	DSNFile            setting[string]        `toml:"dsn_file"`
	ReplicationDSNFile setting[string]        `toml:"replication_dsn_file"`
	MaxLag             setting[time.Duration] `toml:"max_lag"`
	ApplyTimeout       setting[time.Duration] `toml:"apply_timeout"`
	DemoteTimeout      setting[time.Duration] `toml:"demote_timeout"`
	WaitForLast        setting[time.Duration] `toml:"wait_for_last"`
}

type rawTemplate struct {
	At       span                   // of the header
	Name     setting[string]        `toml:"name"`
	Source   setting[string]        `toml:"source"`
	File     setting[string]        `toml:"file"`
	Check    setting[texts]         `toml:"check"`
	Reload   setting[texts]         `toml:"reload"`
	AsRoot   setting[bool]          `toml:"as_root"`
	Nodes    setting[texts]         `toml:"nodes"`
	Mode     setting[string]        `toml:"mode"`
	Owner    setting[string]        `toml:"owner"`
	Interval setting[time.Duration] `toml:"interval"`
	Timeout  setting[time.Duration] `toml:"timeout"`
}

// schema is table name ("" for the top, "group.mysql" for a table in a table) -> its
// keys, in the order of the structs.
var schema = func() map[string][]string {
	tables := map[string][]string{}
	var walk func(name string, t reflect.Type)
	walk = func(name string, t reflect.Type) {
		for i := range t.NumField() {
			key := t.Field(i).Tag.Get("toml")
			if key == "" {
				continue
			}
			tables[name] = append(tables[name], key)
			ft := t.Field(i).Type
			if ft.Kind() == reflect.Slice {
				ft = ft.Elem()
			}
			if strings.HasPrefix(ft.Name(), "raw") {
				walk(within(name, key), ft)
			}
		}
	}
	walk("", reflect.TypeFor[rawFile]())
	return tables
}()

// within is the name in the schema of the table key of a table.
func within(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

// isList tells whether a table of that name is written with two brackets.
func isList(name string) bool {
	f := reflect.TypeFor[rawFile]()
	for i := range f.NumField() {
		if f.Field(i).Tag.Get("toml") == name {
			return f.Field(i).Type.Kind() == reflect.Slice
		}
	}
	return false
}

// header is how a table is written in the file.
func header(name string) string {
	if isList(name) {
		return "[[" + name + "]]"
	}
	return "[" + name + "]"
}
