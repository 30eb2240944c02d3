package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"holdfast/dataplane/xdp"
	"holdfast/dataplane/xsk"
)

// bareForwarder is this program's `bare` command.
func bareForwarder() forwarder {
	return forwarder{name: "bare", start: func(ctx context.Context, l *line) (running, error) {
		binary, err := os.Executable()
		if err != nil {
			return running{}, err
		}
		return l.run(ctx, binary, "bare", "--in", "f0", "--out", "f1", "--dst", macS0.String(), "--back", macG0.String())
	}}
}

// newBare is the bare forwarder, a process of its own like Holdfast's daemon: whatever
// comes in on one device goes out on the other with a new destination MAC. Nothing is
// decoded, tracked or counted: it is what AF_XDP itself costs on these ports.
func newBare() *cobra.Command {
	var devices [2]string
	var macs [2]string // of the frames that go out on it
	cmd := &cobra.Command{
		Use: "bare", Short: "The bare AF_XDP forwarder that N1 compares with", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var ports [2]barePort
			for i := range ports {
				mac, err := net.ParseMAC(macs[i])
				if err != nil {
					return err
				}
				ports[i] = barePort{device: devices[i], dst: mac}
			}
			return bare(cmd.Context(), ports)
		},
	}
	cmd.Flags().StringVar(&devices[0], "in", "", "device to receive from")
	cmd.Flags().StringVar(&devices[1], "out", "", "device to transmit on")
	cmd.Flags().StringVar(&macs[1], "dst", "", "destination MAC of frames from in to out")
	cmd.Flags().StringVar(&macs[0], "back", "", "destination MAC of frames from out to in")
	return cmd
}

// barePort is one side of the bare forwarder.
type barePort struct {
	device string
	dst    net.HardwareAddr // of the frames that go out here
	socket *xsk.Socket
}

func bare(ctx context.Context, ports [2]barePort) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	umem, err := xsk.NewUmem(xsk.DefaultRings.Frames(2))
	if err != nil {
		return err
	}
	var poller xsk.Poller
	for i := range ports {
		program, err := xdp.Attach(xdp.Config{Device: ports[i].device})
		if err != nil {
			return err
		}
		defer program.Close()
		if err := program.Up(); err != nil {
			return err
		}
		if ports[i].socket, err = xsk.Open(xsk.Config{Ifindex: program.Ifindex(), Umem: umem}); err != nil {
			return err
		}
		defer ports[i].socket.Close()
		if err := program.SetSocket(0, ports[i].socket.Fd()); err != nil {
			return err
		}
		poller.AddSocket(ports[i].socket)
	}
	fmt.Println("ready")
	for ctx.Err() == nil {
		n := forwardBare(umem, &ports[0], &ports[1]) + forwardBare(umem, &ports[1], &ports[0])
		if n == 0 {
			if _, err := poller.Wait(4 * time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// forwardBare forwards one batch and returns how many frames came in.
func forwardBare(umem *xsk.Umem, in, out *barePort) int {
	var batch [64]xsk.Desc
	n := in.socket.Receive(batch[:])
	for _, d := range batch[:n] {
		copy(umem.Bytes(d), out.dst)
	}
	sent := out.socket.Transmit(batch[:n])
	umem.Free(batch[sent:n])
	for out.socket.Unsent() > 0 && out.socket.Kick() == xsk.KickedMore {
	}
	out.socket.Reclaim()
	in.socket.Refill()
	return n
}
