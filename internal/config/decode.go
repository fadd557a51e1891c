package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// decode fills raw from the document. Unknown keys and wrong types are reported; the
// settings concerned are left unset or broken.
func decode(rep *report, doc document, raw *rawFile) {
	raw.spoiled = map[string]bool{}
	d := decoder{rep, raw.spoiled}
	d.table("", "the file", doc.values, doc.places, reflect.ValueOf(raw).Elem())
}

type decoder struct {
	rep     *report
	spoiled map[string]bool // see rawFile
}

// reader is a pointer to a setting.
type reader interface {
	read(d decoder, key string, v any, n *node)
	missing(table span)
	spoil()
}

var _ reader = (*setting[string])(nil)

// table fills the struct dst from v. name is the table's name in the schema, label
// what messages call it.
func (d decoder) table(name, label string, v map[string]any, n *node, dst reflect.Value) {
	*dst.FieldByName("At").Addr().Interface().(*span) = n.value
	known := map[string]reflect.Value{}
	for i := range dst.NumField() {
		if key := dst.Type().Field(i).Tag.Get("toml"); key != "" {
			known[key] = dst.Field(i)
		}
	}
	var meant []string
	for _, key := range slices.Sorted(maps.Keys(v)) {
		at := n.field(key)
		if at == nil {
			at = n // the walk missed it: a place nearby is better than none
		}
		field, ok := known[key]
		if !ok {
			meant = append(meant, d.unknown(name, label, key, v[key], at))
			continue
		}
		d.field(name, key, v[key], at, field)
		delete(known, key)
	}
	for _, field := range known { // not in the file
		if r, ok := field.Addr().Interface().(reader); ok {
			r.missing(n.value)
		}
	}
	for _, key := range meant { // a misspelled key is not missing as well
		if field, ok := known[key]; !ok {
			continue
		} else if r, ok := field.Addr().Interface().(reader); ok {
			r.spoil()
		} else {
			d.spoiled[within(name, key)] = true
		}
	}
}

// field reads v, the value of key in a table.
func (d decoder) field(table, key string, v any, at *node, field reflect.Value) {
	if r, ok := field.Addr().Interface().(reader); ok {
		r.read(d, key, v, at)
		return
	}
	name := within(table, key)
	if field.Kind() == reflect.Struct {
		if tbl, ok := v.(map[string]any); ok {
			d.table(name, header(name), tbl, at, field)
		} else {
			d.spoiled[name] = true
			d.rep.refuse(at.key, fmt.Sprintf("%s is a table, not %s", quote(key), describe(v)), "begin it with a line "+header(name)+", and write its keys below")
		}
		return
	}
	list, ok := listOfTables(v)
	if !ok {
		d.spoiled[key] = true
		d.rep.refuse(at.key, fmt.Sprintf("%s is a list of tables, not %s", quote(key), describe(v)), "begin each "+key+" with a line "+header(key)+", with two brackets")
		return
	}
	field.Set(reflect.MakeSlice(field.Type(), len(list), len(list)))
	for i, tbl := range list {
		label := header(key)
		if name, ok := tbl["name"].(string); ok {
			label += " " + quote(name)
		}
		d.table(key, label, tbl, at.item(i), field.Index(i))
	}
}

// listOfTables accepts [[table]] and key = [{...}].
func listOfTables(v any) ([]map[string]any, bool) {
	switch v := v.(type) {
	case []map[string]any:
		return v, true
	case []any:
		var list []map[string]any
		for _, e := range v {
			tbl, ok := e.(map[string]any)
			if !ok {
				return nil, false
			}
			list = append(list, tbl)
		}
		return list, true
	}
	return nil, false
}

// unknown reports a key that does not exist, and returns the one that was meant, or "".
func (d decoder) unknown(table, label, key string, v any, at *node) (meant string) {
	if d.rep.full() {
		d.rep.dropped++
		return ""
	}
	what := "key"
	if _, ok := v.(map[string]any); ok || at.kind == kindTables {
		what = "table"
	}
	meant, _ = suggest(key, schema[table])
	d.rep.refuse(at.key, fmt.Sprintf("unknown %s %s in %s", what, quote(key), label), hintForKey(table, key, meant))
	return meant
}

// hintForKey says what was meant, where the key belongs, or which keys there are.
func hintForKey(table, key, meant string) string {
	switch {
	case meant != "" && table == "":
		return "did you mean " + header(meant) + "?"
	case meant != "":
		return "did you mean " + quote(meant) + "?"
	}
	var elsewhere []string
	for _, t := range append(slices.Clone(schema[""]), "group.mysql") {
		if slices.Contains(schema[t], key) {
			elsewhere = append(elsewhere, header(t))
		}
	}
	if len(elsewhere) > 0 {
		return quote(key) + " belongs below " + strings.Join(elsewhere, " or ")
	}
	if table == "" {
		return "the tables are: [cluster], [lease], [http], [[node]], [[check]], [[group]], [[template]]"
	}
	return header(table) + " knows: " + strings.Join(schema[table], ", ")
}

func (s *setting[T]) missing(table span) { s.at, s.key = table, table }

func (s *setting[T]) spoil() { s.state = broken }

// read takes v if it is a T, and reports what it should have been otherwise.
func (s *setting[T]) read(d decoder, key string, v any, n *node) {
	s.key, s.at, s.state = n.key, n.value, given
	ok, want, hint := false, "", ""
	switch dst := any(&s.value).(type) {
	case *string:
		*dst, ok = v.(string)
		want, hint = "text in quotes", fmt.Sprintf("write %s = \"...\"", key)
		if num, isNum := v.(int64); isNum {
			hint = fmt.Sprintf("write %s = \"%d\"", key, num)
		}
	case *int64:
		*dst, ok = v.(int64)
		want, hint = "a whole number", "write it without quotes, as in "+key+" = 2"
		if text, _ := v.(string); number.MatchString(text) {
			hint = "write " + key + " = " + text + ", without quotes"
		}
	case *bool:
		*dst, ok = v.(bool)
		want, hint = "true or false", "write "+key+" = true or "+key+" = false, without quotes"
	case *time.Duration:
		*dst, hint = parseDuration(key, v)
		ok, want = hint == "", "a duration with a unit"
	case *texts:
		if list, isList := v.([]any); isList {
			if *dst, ok = d.texts(key, list, n); !ok {
				s.state = broken
				return
			}
		}
		want, hint = "a list of texts", "write "+key+` = ["...", "..."]`
		if text, isText := v.(string); isText {
			hint = fmt.Sprintf("write %s = [%s]", key, quote(text))
		}
	case *interfaces:
		*dst, ok = d.interfaces(v, n)
		want, hint = "a name, or a table with a name per node", key+` = "eth0", or `+key+` = { web1 = "eth0", web2 = "ens3" }`
	case *listens:
		var told bool
		if *dst, ok, told = d.listens(key, v, n); told {
			s.state = broken
			return
		}
		want, hint = "an address with a port, a list of them, or a table with that of each node", "write "+key+` = "127.0.0.1:9746"`
	default:
		panic(fmt.Sprintf("config: no reader for %T", dst))
	}
	if !ok {
		s.state = broken
		d.rep.refuse(n.value, fmt.Sprintf("%s must be %s, not %s", quote(key), want, describe(v)), hint)
	}
}

// parseDuration returns a hint if v is not a duration.
func parseDuration(key string, v any) (time.Duration, string) {
	const units = "units are ms, s, m, h"
	switch v := v.(type) {
	case string:
		if dur, err := time.ParseDuration(strings.TrimSpace(v)); err == nil && v != "0" {
			return dur, ""
		}
		if number.MatchString(v) {
			return 0, fmt.Sprintf("write %s = \"%ss\" for seconds; %s", key, v, units)
		}
	case int64:
		return 0, fmt.Sprintf("write %s = \"%ds\" for seconds, or \"%dms\"; %s", key, v, v, units)
	case float64:
		return 0, fmt.Sprintf("write %s = \"%vs\" for seconds; %s", key, v, units)
	}
	return 0, fmt.Sprintf("write %s = \"10s\", \"500ms\" or \"1m30s\"; %s", key, units)
}

// texts reports itself which element is not a text.
func (d decoder) texts(key string, list []any, n *node) (texts, bool) {
	out := make(texts, 0, len(list))
	for i, e := range list {
		at := n.item(i).value
		text, ok := e.(string)
		if !ok {
			d.rep.refuse(at, fmt.Sprintf("%s is a list of texts, and this is %s", quote(key), describe(e)), "put it in quotes")
			return nil, false
		}
		out = append(out, setting[string]{value: text, state: given, key: at, at: at})
	}
	return out, true
}

func (d decoder) interfaces(v any, n *node) (interfaces, bool) {
	switch v := v.(type) {
	case string:
		return interfaces{all: v}, true
	case map[string]any:
		out := interfaces{nodes: []nodeInterface{}}
		for _, node := range slices.Sorted(maps.Keys(v)) {
			at := n.field(node)
			if at == nil {
				at = n
			}
			ni := nodeInterface{node: node, key: at.key}
			ni.iface.read(d, node, v[node], at)
			out.nodes = append(out.nodes, ni)
		}
		return out, true
	}
	return interfaces{}, false
}

// listens tells whether it has reported itself what is wrong.
func (d decoder) listens(key string, v any, n *node) (out listens, ok, told bool) {
	switch v := v.(type) {
	case string:
		return listens{all: texts{{value: v, state: given, key: n.key, at: n.value}}}, true, false
	case []any:
		out.all, ok = d.texts(key, v, n)
		return out, ok, !ok
	case map[string]any:
		out.nodes = []nodeListen{}
		for _, node := range slices.Sorted(maps.Keys(v)) {
			at := n.field(node)
			if at == nil {
				at = n
			}
			nl := nodeListen{node: node, key: at.key, on: setting[texts]{state: broken, key: at.key, at: at.value}}
			switch on := v[node].(type) {
			case string:
				nl.on.value, nl.on.state = texts{{value: on, state: given, key: at.key, at: at.value}}, given
			case []any:
				nl.on.read(d, node, on, at)
			default:
				d.rep.refuse(at.value, fmt.Sprintf("%s must be an address with a port, or a list of them, not %s", quote(node), describe(on)),
					"write "+node+` = "10.0.0.11:9746"`)
			}
			out.nodes = append(out.nodes, nl)
		}
		return out, true, false
	}
	return out, false, false
}

// describe names a value of the wrong type.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return "the text " + quote(v)
	case int64:
		return fmt.Sprintf("the bare number %d", v)
	case float64:
		return fmt.Sprintf("the bare number %v", v)
	case bool:
		return fmt.Sprintf("%v", v)
	case time.Time:
		return "a date"
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "a list"
	}
	return fmt.Sprintf("%T", v)
}
