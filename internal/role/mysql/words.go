package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"

	mysql "github.com/go-sql-driver/mysql"
)

// Given by MySQL and MariaDB (their error references). The text of the first four
// names the account.
const (
	erDBAccessDenied       = 1044
	erAccessDenied         = 1045
	erAccessDeniedNoPasswd = 1698
	erSpecificAccessDenied = 1227
	erNoSuchThread         = 1094
	erMasterFatal          = 1236 // the master cannot serve what the replica asks for
)

// errNoAnswer: the server accepted, and said nothing for as long as it had.
var errNoAnswer = errors.New("no answer in time")

// plainError has a text of our own, and the class of what it stands for.
type plainError struct {
	text  string
	cause error
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.cause }

// secrets knows the passwords that were read lately, so that none gets out in the
// words of a server or a library: a server quotes the statement that it does not
// understand. Safe for concurrent use.
type secrets struct {
	mu   sync.Mutex
	list []string
}

// maxSecrets: two accounts, before and after a change of password, in two forms, and
// as many again (chosen by us).
const maxSecrets = 16

func (s *secrets) add(secret string) {
	if secret == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// As it is, and as it stands in a statement.
	for _, form := range []string{inStatement.Replace(secret), secret} {
		if !slices.Contains(s.list, form) {
			s.list = append(s.list, form)
		}
	}
	for len(s.list) > maxSecrets {
		s.list = s.list[1:]
	}
}

// inStatement writes a text as the driver puts it into a statement.
var inStatement = strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`)

// hide takes the passwords out of a text.
func (s *secrets) hide(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range s.list {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}

// words says what a statement's error is. What ended with ctx tells that, and an
// error of the server tells its number and no account.
func (s *server) words(ctx context.Context, err error) error {
	var my *mysql.MySQLError
	var op *net.OpError
	var plain *plainError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &plain):
		return err
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return errNoAnswer
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &my):
		switch my.Number {
		case erDBAccessDenied, erAccessDenied, erAccessDeniedNoPasswd:
			return &plainError{fmt.Sprintf("access denied (error %d): see user, password and host in %s", my.Number, s.path), err}
		case erSpecificAccessDenied:
			return &plainError{fmt.Sprintf("the account of %s lacks a privilege (docs/mysql.md lists them): %s", s.path, s.secrets.hide(my.Message)), err}
		}
		return &plainError{fmt.Sprintf("error %d: %s", my.Number, s.secrets.hide(my.Message)), err}
	case errors.As(err, &op) && op.Op == "dial":
		return &plainError{"cannot connect: " + s.secrets.hide(op.Err.Error()), err}
	case errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, driver.ErrBadConn), errors.Is(err, io.ErrUnexpectedEOF):
		return &plainError{"the server closed the connection", err}
	}
	return &plainError{s.secrets.hide(err.Error()), err}
}

// serverError is the number of a server's error, 0 if it is none.
func serverError(err error) uint16 {
	var my *mysql.MySQLError
	if errors.As(err, &my) {
		return my.Number
	}
	return 0
}
