package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
)

func main() {
	summaryFile := flag.String("summary", "", "append the closing summary to this file too")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: testreport [-summary FILE] go test -json ...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	code, err := run(flag.Args(), *summaryFile)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// run runs the command, reports on it, and returns its exit code.
func run(command []string, summaryFile string) (code int, err error) {
	// Ctrl-C reaches the whole process group. The tests take their namespaces down and
	// end; the report waits for them instead of dying first.
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	defer signal.Stop(interrupted)

	c := exec.Command(command[0], command[1:]...)
	c.Stderr = os.Stderr
	stream, err := c.StdoutPipe()
	if err != nil {
		return 0, fmt.Errorf("preparing %q: %w", command[0], err)
	}
	if err := c.Start(); err != nil {
		return 0, fmt.Errorf("starting %q: %w", command[0], err)
	}
	r := newReport(os.Stdout)
	readErr := r.read(stream)
	waitErr := c.Wait()
	if readErr != nil {
		return 0, readErr
	}
	var exit *exec.ExitError
	if errors.As(waitErr, &exit) {
		code = max(exit.ExitCode(), 1) // -1 where a signal ended it
	} else if waitErr != nil {
		return 0, fmt.Errorf("running %q: %w", command[0], waitErr)
	}
	summary := r.summary()
	fmt.Print(summary)
	if summaryFile != "" {
		if err := appendTo(summaryFile, summary); err != nil {
			return 0, err
		}
	}
	return code, nil
}

func appendTo(name, text string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening the summary: %w", err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing the summary %s: %w", name, err)
	}
	return nil
}
