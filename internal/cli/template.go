package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/hbagent/hbagent/internal/control"
)

func (a *app) template() *cobra.Command {
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use:   "template [NAME]",
		Short: "The files that follow the cluster, and how they stand",
		Long: `Lists this node's templates: the files that the agent keeps as the cluster is,
such as the upstreams of an nginx. With --dry-run it shows what each would be
now, as a reload of the agent would read the template, and the difference to the
file that is there. Nothing is written, and no command is run.

  hbagent template
  hbagent template upstreams --dry-run

Exit codes: 0 done, 1 a template fails (or the agent cannot be asked), 2 wrong
usage.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeTemplates,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			if dryRun {
				return a.dryRunTemplates(cmd.Context(), name, asJSON)
			}
			return a.listTemplates(cmd.Context(), name, asJSON)
		},
	}
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "show what the file would be now, and the difference")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON (docs/cli-json.md)")
	return cmd
}

// ownTemplates are those of the answering node.
func ownTemplates(s control.Status) []control.Template {
	for _, n := range s.Nodes {
		if n.Self {
			return n.Templates
		}
	}
	return nil
}

func (a *app) listTemplates(ctx context.Context, name string, asJSON bool) error {
	s, err := control.NewClient(a.runDir).Status(ctx)
	if err != nil {
		return err
	}
	list := ownTemplates(s)
	if name != "" {
		i := slices.IndexFunc(list, func(t control.Template) bool { return t.Name == name })
		if i < 0 {
			return fmt.Errorf("no template %q on %s%s", name, s.Node, thereAre(list))
		}
		list = list[i : i+1]
	}
	switch {
	case asJSON:
		err = a.printJSON(a.stdout, append([]control.Template{}, list...), true)
	case len(list) == 0:
		_, err = fmt.Fprintf(a.stdout, "no templates on %s\n", s.Node)
	default:
		t := &table{head: []string{"TEMPLATE", "STATE", "FOR", "WRITTEN", "FILE, WHY"}}
		for _, tpl := range list {
			written := "-"
			if !tpl.Changed.IsZero() {
				written = ago(s.At, tpl.Changed) + " ago"
			}
			lines := []string{tpl.File}
			if tpl.Message != "" {
				lines = append(lines, tpl.Message)
			}
			t.add(text(tpl.Name), templateCell(tpl.Status), text(ago(s.At, tpl.Since)), text(written), styled(plain, lines...))
		}
		err = t.write(a.stdout, a.screen, 0)
	}
	if err == nil && slices.ContainsFunc(list, func(t control.Template) bool { return t.Status == control.TemplateFailing }) {
		return exitCode(exitFailed)
	}
	return err
}

func thereAre(list []control.Template) string {
	if len(list) == 0 {
		return ": it keeps none"
	}
	names := make([]string, len(list))
	for i, t := range list {
		names[i] = t.Name
	}
	return "; there is " + strings.Join(names, ", ")
}

func templateCell(s control.TemplateStatus) cell {
	switch s {
	case control.TemplateCurrent:
		return styled(good, string(s))
	case control.TemplateFailing:
		return styled(bad, string(s))
	}
	return styled(uneasy, string(s))
}

func (a *app) dryRunTemplates(ctx context.Context, name string, asJSON bool) error {
	list, err := control.NewClient(a.runDir).RenderTemplates(ctx, name)
	if err != nil {
		return err
	}
	if asJSON {
		err = a.printJSON(a.stdout, list, true)
	} else {
		err = a.writeRenders(list)
	}
	if err == nil && slices.ContainsFunc(list, func(r control.TemplateRender) bool { return r.Result == control.RenderFails }) {
		return exitCode(exitFailed)
	}
	return err
}

func (a *app) writeRenders(list []control.TemplateRender) error {
	p := &page{w: a.stdout, screen: a.screen}
	if len(list) == 0 {
		p.line("no templates on this node")
	}
	for i, r := range list {
		if i > 0 {
			p.line("")
		}
		p.wrapped("", renderStyle(r.Result), r.Name+": "+renderText(r))
		if r.Content == "" {
			continue
		}
		p.line("")
		p.block(r.Content, "    ")
		if d := diff.Diff(r.File, []byte(r.Present), r.File+" (new)", []byte(r.Content)); r.Exists && len(d) > 0 {
			p.line("")
			p.block(string(d), "")
		}
	}
	return p.err
}

// block prints text that others have written, line by line, with its spaces and tabs.
func (p *page) block(text, indent string) {
	printable := func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return ' '
	}
	for line := range strings.Lines(text) {
		p.line(indent + strings.Map(printable, strings.TrimSuffix(line, "\n")))
	}
}

func renderStyle(r control.RenderResult) style {
	switch r {
	case control.RenderUnchanged:
		return good
	case control.RenderFails:
		return bad
	}
	return uneasy
}

func renderText(r control.TemplateRender) string {
	switch r.Result {
	case control.RenderUnchanged:
		return r.File + " is as it should be"
	case control.RenderChanges:
		if !r.Exists {
			return r.File + " would be made"
		}
		return r.File + " would be replaced"
	case control.RenderHeld:
		return r.File + " would stay as it is: " + r.Reason
	case control.RenderFails:
		return "fails: " + r.Reason
	}
	return fmt.Sprintf("%q, which this version does not know: %s", r.Result, r.Reason)
}

// completeTemplates offers the templates of the running agent.
func (a *app) completeTemplates(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionLimit)
	defer cancel()
	s, err := control.NewClient(a.runDir).Status(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, t := range ownTemplates(s) {
		names = append(names, t.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
