module github.com/fairway-net/fairway/bench

go 1.26
