package server

import "sync"

// locks is a set of mutexes by name that exist only while they are held.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	sync.Mutex
	users int
}

// lock waits for name and returns what unlocks it.
func (l *locks) lock(name string) (unlock func()) {
	l.mu.Lock()
	k := l.held[name]
	if k == nil {
		k = &lock{}
		l.held[name] = k
	}
	k.users++
	l.mu.Unlock()
	k.Lock()
	return func() { l.unlock(name, k) }
}

// try is lock that does not wait.
func (l *locks) try(name string) (unlock func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[name] != nil {
		return nil, false
	}
	k := &lock{users: 1}
	k.Lock()
	l.held[name] = k
	return func() { l.unlock(name, k) }, true
}

func (l *locks) unlock(name string, k *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, name)
	}
}
