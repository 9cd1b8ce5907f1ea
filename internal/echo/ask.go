package echo

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Ask asks the first name server of resolv.conf for an A record again and again
// at a steady rate, each question once: what gets lost is not asked again, so
// that it shows.
type Ask struct {
	Name    string        // absolute
	Rate    int           // questions per second
	For     time.Duration // how long to ask
	Timeout time.Duration // how long to wait for an answer
	OneFlow bool          // all from one socket; else each from its own, as C libraries do
	Conf    string        // path of resolv.conf

	port int // of the server; 0: 53
}

// Run prints how many questions had an answer, and when and why others had
// none. The error is ErrFailed if there are such.
func (a Ask) Run(ctx context.Context, w io.Writer) error {
	conf, err := readResolvConf(a.Conf)
	if err != nil {
		return err
	}
	if len(conf.servers) == 0 {
		return errors.New("no nameserver in resolv.conf")
	}
	name, err := dnsmessage.NewName(a.Name)
	if err != nil {
		return fmt.Errorf("%s: %w", a.Name, err)
	}
	query := dnsmessage.Message{Header: dnsmessage.Header{RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	packed, err := query.Pack()
	if err != nil {
		return err
	}
	r := &asked{start: time.Now(), timeout: a.Timeout, server: net.JoinHostPort(conf.servers[0], strconv.Itoa(cmp.Or(a.port, 53))), query: packed}
	ask := r.alone
	if a.OneFlow {
		flow, err := r.flow()
		if err != nil {
			return err
		}
		defer flow.conn.Close()
		ask = flow.ask
	}
	r.pace(ctx, a.Rate, a.For, ask)
	r.wg.Wait()
	return r.print(w)
}

// asked is what came of the questions.
type asked struct {
	start   time.Time
	timeout time.Duration
	server  string
	query   []byte // with an ID of 0
	wg      sync.WaitGroup

	mu       sync.Mutex
	answered int
	slowest  time.Duration
	failed   []failure
}

type failure struct {
	at  time.Duration // since the start
	why string
}

// burst is how many questions are asked at once after a stall of the client:
// not more than its own socket has room for answers.
const burst = 20

// pace calls ask rate times a second; after a stall it makes up for what is due.
func (r *asked) pace(ctx context.Context, rate int, length time.Duration, ask func(id uint16, sent time.Time)) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := 0; ctx.Err() == nil; <-tick.C {
		past := min(time.Since(r.start), length)
		for due := min(int(past.Seconds()*float64(rate)), n+burst); n < due; n++ {
			r.wg.Add(1)
			ask(uint16(n), time.Now())
		}
		if past == length {
			return
		}
	}
}

// done notes what came of one question: answer is what was read unless err says why not.
func (r *asked) done(id uint16, sent time.Time, answer []byte, err error) {
	if err == nil {
		switch {
		case len(answer) < 12 || binary.BigEndian.Uint16(answer) != id:
			err = errors.New("not an answer to the question")
		case answer[3]&15 != 0 || answer[6] == 0 && answer[7] == 0:
			err = fmt.Errorf("response code %d, %d records", answer[3]&15, answer[7])
		}
	} else {
		err = errors.New(reason(err))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failed = append(r.failed, failure{sent.Sub(r.start), err.Error()})
	} else {
		r.answered++
		r.slowest = max(r.slowest, time.Since(sent))
	}
	r.wg.Done()
}

// alone asks from a socket of its own.
func (r *asked) alone(id uint16, sent time.Time) {
	go func() {
		answer, err := r.exchange(id)
		r.done(id, sent, answer, err)
	}()
}

func (r *asked) exchange(id uint16) ([]byte, error) {
	conn, err := net.Dial("udp", r.server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(r.timeout)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(r.withID(id)); err != nil {
		return nil, err
	}
	buf := make([]byte, 1500)
	n, err := conn.Read(buf)
	return buf[:n], err
}

func (r *asked) withID(id uint16) []byte {
	q := append([]byte(nil), r.query...)
	binary.BigEndian.PutUint16(q, id)
	return q
}

// flow asks everything from one socket.
type flow struct {
	*asked
	conn   *net.UDPConn // not connected, as that of musl's resolver
	server *net.UDPAddr

	mu   sync.Mutex
	open map[uint16]time.Time // when the question was sent
}

func (r *asked) flow() (*flow, error) {
	server, err := net.ResolveUDPAddr("udp", r.server)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}
	if err := conn.SetReadBuffer(4 << 20); err != nil { // the kernel caps it
		conn.Close()
		return nil, err
	}
	f := &flow{asked: r, conn: conn, server: server, open: map[uint16]time.Time{}}
	go f.receive()
	return f, nil
}

func (f *flow) ask(id uint16, sent time.Time) {
	f.mu.Lock()
	f.open[id] = sent
	f.mu.Unlock()
	time.AfterFunc(f.timeout, func() { f.close(id, nil, context.DeadlineExceeded) })
	// An error here may be that of an earlier question: what is lost is told by the timeout.
	_, _ = f.conn.WriteToUDP(f.withID(id), f.server)
}

func (f *flow) close(id uint16, answer []byte, err error) {
	f.mu.Lock()
	sent, ok := f.open[id]
	delete(f.open, id)
	f.mu.Unlock()
	if ok {
		f.done(id, sent, answer, err)
	}
}

func (f *flow) receive() {
	buf := make([]byte, 1500)
	for {
		n, err := f.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && n >= 12 {
			f.close(binary.BigEndian.Uint16(buf), buf[:n], nil)
		}
	}
}

// print prints what was not answered second by second, then the sum.
func (r *asked) print(w io.Writer) error {
	type when struct {
		second int
		why    string
	}
	var order []when
	count := map[when]int{}
	for _, f := range r.failed {
		k := when{int(f.at.Seconds()), f.why}
		if count[k]++; count[k] == 1 {
			order = append(order, k)
		}
	}
	for _, k := range order {
		fmt.Fprintf(w, "%6d failed in second %d: %s\n", count[k], k.second, k.why)
	}
	fmt.Fprintf(w, "%d questions, %d failed, slowest answer %.3fs\n", r.answered+len(r.failed), len(r.failed), r.slowest.Seconds())
	if len(r.failed) > 0 {
		return ErrFailed
	}
	return nil
}
