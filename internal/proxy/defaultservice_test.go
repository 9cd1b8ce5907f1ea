package proxy

import "testing"

// TestDefaultServiceWithoutPods: what no Ingress wants gets 404 where the Service of
// default-backend-service has no ready pod, or is none, as by ingress-nginx's own server.
func TestDefaultServiceWithoutPods(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pages := w.backend("pages")
	w.set(service("a"), slice("a", addrOf(pages)), service("last"), service("empty"), ingress("a", "h.example", "/a a", "/empty empty"),
		configMap("fairway-system", "ingress-nginx-controller", "default-backend-service", "default/last"))
	check := func(what string, want int) {
		t.Helper()
		for _, url := range []string{"http://h.example/x", "http://nobodys.example/"} {
			if resp, text := w.get(url); resp.StatusCode != want {
				t.Errorf("%s, %s: %d %q, want %d", what, url, resp.StatusCode, text, want)
			}
		}
	}
	check("without pods", 404)
	if resp, _ := w.get("http://h.example/empty"); resp.StatusCode != 503 {
		t.Errorf("a rule's Service without pods: %d", resp.StatusCode)
	}
	w.set(slice("last", addrOf(pages)))
	check("with a pod", 200)
	w.set(configMap("fairway-system", "ingress-nginx-controller", "default-backend-service", "default/none"))
	check("without a Service", 404)
}
