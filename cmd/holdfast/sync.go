package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"holdfast/cmd/internal/recording"
	"holdfast/sync/seal"
)

func newSync(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Look at the sync link between nodes",
		Args:  usage(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSyncDecode(c))
	return cmd
}

const decodeHelp = `Reads a packet capture (pcap or pcapng; "-" is the standard input) and prints what the
sync link carried, a line for each message, and how much of what at the end.

  tcpdump -i eth3 -w link.pcap udp port 7400
  holdfast sync decode link.pcap

How much it can show depends on what you hold:

  nothing    kinds, sessions, lanes, counters and sizes of the datagrams; counters that
             are missing, late or repeated (a replay, or a copy made by the network)
  --key      also who begins a handshake, and under which of the keys of the key file.
             No more: each session has fresh keys that do not follow from the key file
  --key-log  every message, of the sessions in a key log. A node writes one while its node
             file has "key_log" in [cluster]; the log of either end will do. What was
             recorded before that, or under a session older than it, stays shut

--decrypted writes the messages as plain UDP to port 7401 into a capture of their own, which
Wireshark shows with examples/wireshark/holdfast.lua. Treat it, and the key log, as secret:
they tell every connection. With --json each line is an object, the last has "totals".`

func newSyncDecode(c *common) *cobra.Command {
	var key, log, decrypted string
	cmd := &cobra.Command{
		Use:   "decode FILE",
		Short: "Say in words what a packet capture of the sync link holds",
		Long:  decodeHelp,
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			var o recording.Options
			if key != "" {
				if o.Keys, err = seal.ReadKeyFile(key); err != nil {
					return err
				}
			}
			if log != "" {
				if o.Log, err = readKeyLog(log); err != nil {
					return err
				}
			}
			if decrypted != "" {
				f, err := os.OpenFile(decrypted, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
				if err != nil {
					return fmt.Errorf("--decrypted: %w", err)
				}
				defer func() { err = errors.Join(err, f.Close()) }()
				o.Decrypted = f
			}
			return c.decode(cmd, args[0], o)
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "the cluster's key `FILE`: shows who begins handshakes")
	cmd.Flags().StringVar(&log, "key-log", "", "a key log `FILE` of a node: shows every message")
	cmd.Flags().StringVar(&decrypted, "decrypted", "", "write the messages as plain UDP to this pcapng `FILE`")
	return cmd
}

func readKeyLog(path string) ([]seal.SessionKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--key-log: %w", err)
	}
	defer f.Close()
	keys, err := seal.ReadKeyLog(f)
	if err != nil {
		return nil, fmt.Errorf("--key-log %s: %w", path, err)
	}
	return keys, nil
}

// decode prints a capture.
func (c *common) decode(cmd *cobra.Command, path string, o recording.Options) error {
	in := cmd.InOrStdin()
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	out := bufio.NewWriter(cmd.OutOrStdout())
	totals, err := recording.Decode(in, o, c.teller(out))
	switch {
	case err != nil:
		err = fmt.Errorf("%s: %w", path, err)
	case c.json:
		err = json.NewEncoder(out).Encode(map[string]*recording.Totals{"totals": totals})
	default:
		_, err = fmt.Fprint(out, "\n", totals)
	}
	return errors.Join(err, out.Flush())
}

// teller returns what prints one line.
func (c *common) teller(w io.Writer) func(*recording.Line) error {
	if c.json {
		enc := json.NewEncoder(w)
		return func(l *recording.Line) error { return enc.Encode(l) }
	}
	return func(l *recording.Line) error {
		_, err := fmt.Fprintln(w, l)
		return err
	}
}
