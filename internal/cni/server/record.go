package server

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairway-net/fairway/internal/cni"
	"github.com/fairway-net/fairway/internal/model"
)

// Record is what one pod has of us.
type Record struct {
	cni.Attachment
	Pod     model.Name   `json:"pod"`
	UID     string       `json:"uid"`
	Host    string       `json:"host"` // name of the link on the node; also the name of the record
	IfIndex int          `json:"ifindex,omitempty"`
	IPs     []netip.Addr `json:"ips"`
	Created time.Time    `json:"created"`
}

// records is a directory with one file per record, and the same in memory.
type records struct {
	dir string

	mu  sync.Mutex
	all map[string]Record // by Host
}

// openRecords reads dir, which is made if it is missing. A file that does not
// parse was cut off by a crash before its pod had anything, and is removed.
func openRecords(dir string) (*records, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make record directory: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	r := &records{dir: dir, all: map[string]Record{}}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		var rec Record
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read record: %w", err)
		}
		if !strings.HasSuffix(path, ".json") || json.Unmarshal(b, &rec) != nil || rec.Host == "" {
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("remove broken record: %w", err)
			}
			continue
		}
		r.all[rec.Host] = rec
	}
	return r, nil
}

// put writes rec so that a crash leaves the old file or the new one.
func (r *records) put(rec Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	tmp := r.path(rec.Host) + ".tmp"
	if err = os.WriteFile(tmp, b, 0o600); err == nil {
		err = os.Rename(tmp, r.path(rec.Host))
	}
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	r.all[rec.Host] = rec
	return nil
}

func (r *records) remove(host string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := os.Remove(r.path(host)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove record: %w", err)
	}
	delete(r.all, host)
	return nil
}

func (r *records) get(host string) (Record, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.all[host]
	return rec, ok
}

// list returns all records, oldest first.
func (r *records) list() []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Record
	for _, rec := range r.all {
		out = append(out, rec)
	}
	slices.SortFunc(out, func(a, b Record) int { return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.Host, b.Host)) })
	return out
}

func (r *records) path(host string) string { return filepath.Join(r.dir, host+".json") }
