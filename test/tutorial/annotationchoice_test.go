package tutorial

import (
	"fmt"
	"strings"
	"time"
)

// lateIsAvoided: one of four pods answers late, and gets less than its share.
func lateIsAvoided(a *annotated, g *gateway) string {
	by, problem := a.pods(g, 80, "/")
	if problem != "" {
		return problem
	}
	for pod, n := range by {
		if strings.HasPrefix(pod, "late") && n > 12 {
			return fmt.Sprintf("the late pod got %d of 80: %v", n, by)
		}
	}
	if len(by) < 4 {
		return fmt.Sprintf("not all pods were asked: %v", by)
	}
	return ""
}

func hashGoesToOne(a *annotated, g *gateway) string {
	all := map[string]bool{}
	for i := range 12 {
		by, problem := a.pods(g, 4, fmt.Sprint("/item/", i))
		if problem != "" || len(by) != 1 {
			return fmt.Sprintf("the same path went to %v; %s", by, problem)
		}
		for pod := range by {
			all[pod] = true
		}
	}
	if len(all) < 2 {
		return fmt.Sprintf("all paths went to %v", all)
	}
	return ""
}

func hashGoesToTwo(a *annotated, g *gateway) string {
	all := map[string]bool{}
	for i := range 6 {
		by, problem := a.pods(g, 16, fmt.Sprint("/?x=", i))
		if problem != "" || len(by) != 2 {
			return fmt.Sprintf("the same key went to %v, not to two; %s", by, problem)
		}
		for pod := range by {
			all[pod] = true
		}
	}
	if len(all) != 3 {
		return fmt.Sprintf("all keys went to %v", all)
	}
	return ""
}

func cookieSticks(a *annotated, g *gateway) string {
	r := g.get(a.at("/"))
	set := r.header.Get("Set-Cookie")
	for _, want := range []string{"route=", "; Path=/x", "; Domain=sticky.annotations", "; Max-Age=60", "; Expires=", "; SameSite=Lax", "; Secure", "; HttpOnly"} {
		if !strings.Contains(set, want) {
			return r.wrong("a cookie with " + want)
		}
	}
	cookie, _, _ := strings.Cut(set, ";")
	with, problem := a.pods(g, 8, "/", "Cookie: "+cookie)
	if problem != "" || len(with) != 1 || with[r.line("pod")] != 8 {
		return fmt.Sprintf("with the cookie of %s: %v; %s", r.line("pod"), with, problem)
	}
	if without, problem := a.pods(g, 8, "/"); problem != "" || len(without) < 2 {
		return fmt.Sprintf("without a cookie: %v; %s", without, problem)
	}
	return ""
}

func noneIsConditional(a *annotated, g *gateway) string {
	const old, new = "Mozilla/5.0 (X11) Chrome/66.0.3359.181 Safari/537.36", "Mozilla/5.0 (X11) Chrome/120.0 Safari/537.36"
	if r := g.get(a.at("/"), "User-Agent: "+new); !strings.Contains(r.header.Get("Set-Cookie"), "INGRESSCOOKIE=") || !strings.Contains(r.header.Get("Set-Cookie"), "SameSite=None") {
		return r.wrong("SameSite=None")
	}
	if r := g.get(a.at("/"), "User-Agent: "+old); !strings.Contains(r.header.Get("Set-Cookie"), "INGRESSCOOKIE=") || strings.Contains(r.header.Get("Set-Cookie"), "SameSite") {
		return r.wrong("no SameSite")
	}
	return ""
}

// renewals counts how many of 16 clients, half of whose cookies belong to an endpoint that
// takes no connection, get another cookie.
func renewals(a *annotated, g *gateway) (n int, problem string) {
	first := g.get(a.at("/"))
	_, tag, ok := strings.Cut(strings.Split(first.header.Get("Set-Cookie"), ";")[0], "|")
	if !ok {
		return 0, first.wrong("a cookie KEY|BACKEND")
	}
	for i := range 16 {
		r := g.get(a.at("/"), fmt.Sprintf("Cookie: INGRESSCOOKIE=key%d|%s", i, tag))
		if r.status != 200 {
			return n, r.wrong("200 of the other endpoint")
		}
		if r.header.Get("Set-Cookie") != "" {
			n++
		}
	}
	return n, ""
}

func failureKeepsCookie(a *annotated, g *gateway) string {
	if n, problem := renewals(a, g); problem != "" || n != 0 {
		return fmt.Sprintf("%d of 16 got another cookie; %s", n, problem)
	}
	return ""
}

func failureChangesCookie(a *annotated, g *gateway) string {
	time.Sleep(time.Second) // the endpoint that refuses may be resting from the last time
	if n, problem := renewals(a, g); problem != "" || n == 0 {
		return "nobody got another cookie; " + problem
	}
	return ""
}

// afterCanary is who answers a client that the canary has served.
func afterCanary(a *annotated, g *gateway) reply {
	r := g.get(a.at("/"), "X-Canary: always")
	cookie, _, _ := strings.Cut(r.header.Get("Set-Cookie"), ";")
	if r.status != 200 || !strings.HasPrefix(r.line("pod"), "green") || cookie == "" {
		return reply{problem: r.wrong("green, and a cookie")}
	}
	return g.get(a.at("/"), "Cookie: "+cookie)
}

func canaryStays(a *annotated, g *gateway) string {
	if r := afterCanary(a, g); !strings.HasPrefix(r.line("pod"), "green") {
		return r.wrong("green again")
	}
	return ""
}

func canaryLeaves(a *annotated, g *gateway) string {
	if r := afterCanary(a, g); !strings.HasPrefix(r.line("pod"), "blue") {
		return r.wrong("blue")
	}
	return ""
}

// canaryOrder: the header comes before the cookie, and that before the weight.
func canaryOrder(a *annotated, g *gateway) string {
	for _, c := range []struct{ header, cookie, want string }{{"beta", "never", "green"}, {"other", "always", "green"}, {"other", "never", "blue"}, {"always", "", "blue"}, {"", "", "blue"}} {
		if r := g.get(a.at("/"), "X-Canary: "+c.header, "Cookie: canary="+c.cookie); !strings.HasPrefix(r.line("pod"), c.want) {
			return fmt.Sprintf("header %q, cookie %q: %s", c.header, c.cookie, r.wrong(c.want))
		}
	}
	return ""
}

func canaryHalf(a *annotated, g *gateway) string {
	by, problem := a.pods(g, 60, "/")
	if problem != "" || len(by) != 2 {
		return fmt.Sprintf("%v; %s", by, problem)
	}
	for pod, n := range by { // 30, with a standard deviation of 4
		if n < 10 {
			return fmt.Sprintf("%s got %d of 60", pod, n)
		}
	}
	return ""
}
