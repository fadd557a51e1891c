package lab

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStampIn(t *testing.T) {
	oob := make([]byte, unix.CmsgSpace(16))
	binary.NativeEndian.PutUint64(oob, uint64(unix.CmsgLen(16)))
	binary.NativeEndian.PutUint32(oob[8:], unix.SOL_SOCKET)
	binary.NativeEndian.PutUint32(oob[12:], unix.SO_TIMESTAMPNS)
	binary.NativeEndian.PutUint64(oob[16:], 1000)
	binary.NativeEndian.PutUint64(oob[24:], 7)
	if got, want := stampIn(oob), time.Unix(1000, 7); !got.Equal(want) {
		t.Errorf("%v, want %v", got, want)
	}
	before := time.Now()
	if got := stampIn(nil); got.Before(before) {
		t.Errorf("without a stamp %v, want now", got)
	}
}
