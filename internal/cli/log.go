package cli

import (
	"log/slog"
	"strings"
)

// Logger returns the logger of a role: text on standard error, or JSON with
// FAIRWAY_LOG_FORMAT=json; FAIRWAY_LOG_LEVEL is debug, info (the default), warn or error.
func Logger(env *Env) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(strings.ToUpper(env.Getenv("FAIRWAY_LOG_LEVEL")))); err != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if env.Getenv("FAIRWAY_LOG_FORMAT") == "json" {
		return slog.New(slog.NewJSONHandler(env.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(env.Stderr, o))
}
