package metric

import (
	"strings"
	"testing"
	"time"
)

func TestText(t *testing.T) {
	var b strings.Builder
	w := Writer{&b}
	w.One("x_ready", Gauge, "Whether it is.", 1)
	w.Family("x_total", Counter, "How often.")
	w.Value("x_total", 1e6, "who", `a "b"`, "where", "c\\\n\u200b")
	d := NewDurations(time.Millisecond, time.Second)
	for _, took := range []time.Duration{0, time.Millisecond, 2 * time.Millisecond, time.Minute} {
		d.Observe(took)
	}
	w.Family("x_seconds", Histogram, "How long.")
	d.Write(w, "x_seconds", "who", "a")
	const want = `# HELP x_ready Whether it is.
# TYPE x_ready gauge
x_ready 1
# HELP x_total How often.
# TYPE x_total counter
x_total{who="a \"b\"",where="c\\\n` + "\u200b" + `"} 1e+06
# HELP x_seconds How long.
# TYPE x_seconds histogram
x_seconds_bucket{who="a",le="0.001"} 2
x_seconds_bucket{who="a",le="1"} 3
x_seconds_bucket{who="a",le="+Inf"} 4
x_seconds_sum{who="a"} 60.003
x_seconds_count{who="a"} 4
`
	if b.String() != want || d.Count() != 4 {
		t.Errorf("got\n%s, want\n%s", &b, want)
	}
}
