package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/vishvananda/netlink"

	"holdfast/bench/gen"
	"holdfast/internal/lab"
)

// afxdpRun is what one run of the independent AF_XDP source prints.
type afxdpRun struct {
	Made    uint64  `json:"made"`
	Seconds float64 `json:"seconds"`
}

// newAFXDP is the independent AF_XDP source, one process a run, see gen.SendAFXDP.
func newAFXDP() *cobra.Command {
	var device, dst, src, from, to string
	var flows gen.Flows
	var limit time.Duration
	var count uint64
	var size uint16
	cmd := &cobra.Command{
		Use: "send-afxdp", Short: "Send frames by github.com/asavie/xdp", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			link, err := netlink.LinkByName(device)
			if err != nil {
				return fmt.Errorf("device %s: %w", device, err)
			}
			flows.Ifindex, flows.Size = link.Attrs().Index, gen.Size(size)
			for text, mac := range map[string]*net.HardwareAddr{dst: &flows.DstMAC, src: &flows.SrcMAC} {
				if *mac, err = net.ParseMAC(text); err != nil {
					return err
				}
			}
			for text, addr := range map[string]*netip.Addr{from: &flows.Src, to: &flows.Dst} {
				if *addr, err = netip.ParseAddr(text); err != nil {
					return err
				}
			}
			begin := time.Now()
			made, err := gen.SendAFXDP(cmd.Context(), flows, limit, count)
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(afxdpRun{made, time.Since(begin).Seconds()})
		},
	}
	f := cmd.Flags()
	f.StringVar(&device, "device", "", "device to send on")
	f.StringVar(&dst, "dst-mac", "", "destination MAC")
	f.StringVar(&src, "src-mac", "", "source MAC")
	f.StringVar(&from, "src", "", "first source address")
	f.StringVar(&to, "dst", "", "destination address")
	f.Uint16Var(&flows.DstPort, "port", dstPort, "destination port")
	f.Uint32Var(&flows.Count, "flows", 1, "number of flows")
	f.Uint16Var(&size, "size", 0, "bytes of a frame; 0: smallest, 65535: IMIX")
	f.Uint64Var(&flows.Rate, "rate", 0, "frames/s; 0: as fast as can be")
	f.DurationVar(&limit, "limit", time.Second, "how long at most")
	f.Uint64Var(&count, "count", 1<<40, "how many frames at most")
	return cmd
}

// afxdp runs the independent AF_XDP source on g0, on the generator's core.
func (l *line) afxdp(ctx context.Context, t traffic, limit time.Duration) (run afxdpRun, err error) {
	binary, err := os.Executable()
	if err != nil {
		return run, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit+10*time.Second)
	defer cancel()
	var out bytes.Buffer
	proc, err := l.gen.Start(ctx, lab.Program{Path: binary, Stdout: &out, Stderr: os.Stderr, Args: []string{
		"send-afxdp", "--device", "g0", "--dst-mac", macF0.String(), "--src-mac", macG0.String(),
		"--src", firstSrc.String(), "--dst", far.String(), "--flows", fmt.Sprint(t.flows), "--size", fmt.Sprint(t.size),
		"--rate", fmt.Sprint(t.rate), "--limit", limit.String(),
	}})
	if err != nil {
		return run, err
	}
	err = pinAll(proc.Pid(), coreGenerator)
	if err := errors.Join(err, proc.Wait()); err != nil {
		return run, fmt.Errorf("AF_XDP source: %w", err)
	}
	if err := json.Unmarshal(out.Bytes(), &run); err != nil {
		return run, fmt.Errorf("AF_XDP source: its answer: %w", err)
	}
	return run, nil
}
