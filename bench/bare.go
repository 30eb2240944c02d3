package main

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"holdfast/dataplane/xdp"
	"holdfast/dataplane/xsk"
)

// newBare is the bare forwarder, a process of its own like Holdfast's daemon: whatever
// comes in on one device goes out on the other with new MACs. Nothing is decoded,
// tracked or counted: it is what AF_XDP itself costs on these ports.
func newBare() *cobra.Command {
	var in, out, dst string
	cmd := &cobra.Command{
		Use: "bare", Short: "The bare AF_XDP forwarder that N1 compares with", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			mac, err := net.ParseMAC(dst)
			if err != nil {
				return err
			}
			return bare(cmd.Context(), in, out, mac)
		},
	}
	cmd.Flags().StringVar(&in, "in", "", "device to receive from")
	cmd.Flags().StringVar(&out, "out", "", "device to transmit on")
	cmd.Flags().StringVar(&dst, "dst", "", "destination MAC of forwarded frames")
	return cmd
}

func bare(ctx context.Context, in, out string, dst net.HardwareAddr) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	umem, err := xsk.NewUmem(xsk.DefaultRings.Frames(2))
	if err != nil {
		return err
	}
	sockets := [2]*xsk.Socket{}
	for i, device := range []string{in, out} {
		program, err := xdp.Attach(xdp.Config{Device: device})
		if err != nil {
			return err
		}
		defer program.Close()
		if err := program.Up(); err != nil {
			return err
		}
		if sockets[i], err = xsk.Open(xsk.Config{Ifindex: program.Ifindex(), Umem: umem}); err != nil {
			return err
		}
		defer sockets[i].Close()
		if err := program.SetSocket(0, sockets[i].Fd()); err != nil {
			return err
		}
	}
	var poller xsk.Poller
	poller.AddSocket(sockets[0])
	poller.AddSocket(sockets[1])
	fmt.Println("ready")
	var batch [64]xsk.Desc
	for ctx.Err() == nil {
		n := sockets[0].Receive(batch[:])
		for _, d := range batch[:n] {
			copy(umem.Bytes(d), dst)
		}
		sent := sockets[1].Transmit(batch[:n])
		umem.Free(batch[sent:n])
		for sockets[1].Unsent() > 0 && sockets[1].Kick() == xsk.KickedMore {
		}
		sockets[1].Reclaim()
		sockets[0].Refill()
		if n == 0 {
			if _, err := poller.Wait(4 * time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}
