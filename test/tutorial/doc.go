// Package tutorial runs the pages of the documentation against a cluster:
// every command of every console block, in order, in one shell, as a reader
// would, and compares what comes out with what the page shows.
//
// In a console block a line that begins with "$ " is a command ("> " continues
// it) and the lines after it are its output. A command without output lines
// may print what it likes. A comment at the end of a command tells the reader,
// and the test, what is not to be seen from the output:
//
//	# fails: …      the command ends with an error
//	# within 1s     the output is as shown one second after the command before
//
// In the output, "..." on a line of its own stands for any lines, and these
// for parts of a line: <ip>, <n> (a number), <age> (as kubectl prints it),
// <id> (the random end of a name), <time> (1.2s), <any>. The width of white
// space does not matter.
//
// A command that only reads (kubectl get, curl, …) is repeated until its
// output is as shown or a deadline has passed, because the world behind it
// takes its moment; any other runs once.
package tutorial
