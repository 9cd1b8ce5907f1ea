package dialect

// Nearest returns the candidate that word was probably meant to be: the one
// with the fewest edits, if they are at most a third of its letters.
func Nearest(word string, candidates []string) (string, bool) {
	best, least := "", -1
	for _, c := range candidates {
		limit := max(1, max(len(c), len(word))/3)
		if d := edits(word, c); d <= limit && (least < 0 || d < least || d == least && c < best) {
			best, least = c, d
		}
	}
	return best, least >= 0
}

// edits is the number of letters to insert, remove, replace or swap with their
// neighbour in order to turn a into b (optimal string alignment).
func edits(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
