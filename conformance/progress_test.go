package conformance

import (
	"encoding/json"
	"os"

	"github.com/onsi/ginkgo/v2"
)

// reportProgress lets each process of the suite append a line per spec to the
// file that CONFORMANCE_PROGRESS names; the command run prints them as they come.
//
// It is to be called after the framework has previewed all specs: ginkgo
// forgets then what was registered outside of containers.
func reportProgress() {
	ginkgo.ReportBeforeSuite(func(report ginkgo.Report) {
		appendProgress(map[string]any{"Total": report.PreRunStats.SpecsThatWillRun})
	})
	ginkgo.ReportAfterEach(func(r ginkgo.SpecReport) {
		if r.NumAttempts == 0 {
			return // not asked for
		}
		appendProgress(map[string]any{"Name": r.FullText(), "State": r.State.String(), "Seconds": r.RunTime.Seconds(), "Message": r.Failure.Message})
	})
}

func appendProgress(line map[string]any) {
	file := os.Getenv("CONFORMANCE_PROGRESS")
	if file == "" {
		return
	}
	text, err := json.Marshal(line)
	if err != nil {
		return
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	f.Write(append(text, '\n')) // one write: lines of several processes do not mix
}
