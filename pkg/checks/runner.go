package checks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Errors of a Runner.
var (
	// ErrUnknownCheck is returned by Runner.Now for a name that no Spec has.
	ErrUnknownCheck = errors.New("no such check on this node")
	// ErrStopped is returned by Runner.Now when the check went away meanwhile.
	ErrStopped = errors.New("the check was stopped")
	// ErrRunning is returned by the second call of Runner.Run.
	ErrRunning = errors.New("the checks have been started before")
)

// A State is a check as seen from outside.
type State struct {
	Name, Type string
	Required   bool
	Status     Status
	Message    string        // of the latest result
	Since      time.Time     // when Status became what it is
	LastRun    time.Time     // start of the latest probe; zero while Pending
	Took       time.Duration // the latest probe's duration
	Flaps      int           // changes between Passing and Failing
	// Seq orders the States of one Runner: of two with the same Name the
	// larger is newer, also across Replace.
	Seq uint64
}

// A Runner runs checks side by side. All methods may be called from any
// goroutine; none waits for a probe but Now.
type Runner struct {
	opts     Options
	onChange func(State)

	mu    sync.Mutex
	life  context.Context // nil before Run
	seq   uint64
	tasks []*task // in the order of the specs
	wg    sync.WaitGroup
}

// NewRunner prepares checks for specs; Run starts them. It fails with all
// errors joined if a spec is incomplete or a name comes twice.
//
// onChange is called from the goroutine of the check that has changed, so calls
// for different checks come at the same time; those for one check come in
// order. It must not block, since it holds up that check. A call that is
// under way while Replace runs may arrive after it: State.Seq tells old from new.
func NewRunner(specs []Spec, onChange func(State), o Options) (*Runner, error) {
	r := &Runner{opts: o.withDefaults(), onChange: onChange}
	if err := r.Replace(specs); err != nil {
		return nil, err
	}
	return r, nil
}

// Run runs the checks until ctx ends and returns nil; afterwards onChange is
// not called any more. Probes that hang are left behind.
func (r *Runner) Run(ctx context.Context) error {
	r.mu.Lock()
	if r.life != nil {
		r.mu.Unlock()
		return ErrRunning
	}
	r.life = ctx
	for _, t := range r.tasks {
		r.startLocked(t)
	}
	r.mu.Unlock()

	<-ctx.Done()
	r.mu.Lock()
	for _, t := range r.tasks {
		t.stop()
	}
	r.mu.Unlock()
	r.wg.Wait()
	return nil
}

// Replace makes specs the checks to run. A check whose Spec is unchanged goes
// on undisturbed. One that asks the same question on another schedule is
// restarted with its status; any other starts as Pending. If a spec is wrong
// nothing changes.
func (r *Runner) Replace(specs []Spec) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := make(map[string]*task, len(r.tasks))
	for _, t := range r.tasks {
		old[t.spec.Name] = t
	}
	tasks := make([]*task, 0, len(specs))
	seen := make(map[string]bool, len(specs))
	var errs []error
	for _, s := range specs {
		if seen[s.Name] {
			errs = append(errs, fmt.Errorf("check %q: the name comes twice", s.Name))
			continue
		}
		seen[s.Name] = true
		before := old[s.Name]
		if before != nil && before.spec.equal(s) {
			tasks = append(tasks, before)
			continue
		}
		t, err := r.newTaskLocked(s, before)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		tasks = append(tasks, t)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	r.tasks = tasks
	kept := make(map[*task]bool, len(tasks))
	for _, t := range tasks {
		kept[t] = true
	}
	for _, t := range old {
		if !kept[t] {
			t.stop()
		}
	}
	if r.life != nil {
		for _, t := range tasks {
			r.startLocked(t)
		}
	}
	return nil
}

// Now runs one probe of the named check at once, whether Run was called or not,
// and returns its result, which leaves the schedule, rise and fall alone (unless
// the schedule is due meanwhile: then it takes the result too, since there is only
// ever one probe). If a probe is under way, Now waits for it first: the answer is
// never older than the question. It returns within some two timeouts or when ctx
// ends.
func (r *Runner) Now(ctx context.Context, name string) (Result, error) {
	r.mu.Lock()
	var found *task
	for _, t := range r.tasks {
		if t.spec.Name == name {
			found = t
		}
	}
	r.mu.Unlock()
	if found == nil {
		return Result{}, fmt.Errorf("check %q: %w", name, ErrUnknownCheck)
	}
	res, err := found.prober.fresh(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("check %q: %w", name, err)
	}
	return res, nil
}

// States returns every check's state, in the order of the specs.
func (r *Runner) States() []State {
	r.mu.Lock()
	defer r.mu.Unlock()
	states := make([]State, len(r.tasks))
	for i, t := range r.tasks {
		states[i] = t.state
	}
	return states
}

// newTaskLocked makes the task for s, in place of before if that is not nil.
func (r *Runner) newTaskLocked(s Spec, before *task) (*task, error) {
	if err := s.validateSchedule(); err != nil {
		return nil, err
	}
	checker, err := r.opts.New(s, r.opts)
	if err != nil {
		return nil, err
	}
	r.seq++
	state := State{Name: s.Name, Type: s.Type, Since: time.Now(), Seq: r.seq}
	if before != nil && before.spec.sameProbe(s) {
		state = before.state
		state.Seq = r.seq
	}
	state.Required = s.Required
	life, stop := context.WithCancel(context.Background())
	log := r.opts.Logger.With("check", s.Name)
	t := &task{
		runner:  r,
		spec:    s,
		checker: checker,
		life:    life,
		stop:    stop,
		log:     log,
		prober:  &prober{checker: checker, timeout: s.Timeout, life: life, log: log},
		wake:    make(chan struct{}, 1),
		verdict: RiseFall{Rise: s.Rise, Fall: s.Fall, Status: state.Status},
		state:   state,
	}
	return t, nil
}

func (r *Runner) startLocked(t *task) {
	if t.started || r.life.Err() != nil {
		return
	}
	t.started = true
	r.wg.Go(t.run)
	if w, ok := t.checker.(Watcher); ok {
		r.wg.Go(func() { t.watch(w) })
	}
}
