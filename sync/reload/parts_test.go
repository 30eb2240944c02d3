package reload

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"holdfast/rules/config"
	"holdfast/sync/wire"
)

var someSources = config.Sources{
	{Path: "/etc/holdfast/policy.toml", Text: []byte("include = \"more.toml\"\n")},
	{Path: "/etc/holdfast/more.toml", Text: bytes.Repeat([]byte("# rules\n"), 1000)},
	{Path: "/etc/holdfast/empty.txt", Text: []byte{}},
}

func TestImageRoundTrip(t *testing.T) {
	image, err := Pack(someSources)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Unpack(image)
	if err != nil || cmp.Diff(someSources, got) != "" {
		t.Fatalf("%v %s", err, cmp.Diff(someSources, got))
	}
	for n := range image {
		if _, err := Unpack(image[:n]); !errors.Is(err, ErrImage) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	image, err := Pack(someSources)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(image)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Unpack(b)
		if err != nil {
			if !errors.Is(err, ErrImage) {
				t.Fatal(err)
			}
			return
		}
		again, err := Pack(s)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Unpack(again); err != nil || cmp.Diff(s, back) != "" {
			t.Fatal(err)
		}
	})
}

// An image comes whole through a network that loses, repeats and reorders, in bounded time.
func TestFetchRepairsLoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		loss := rapid.IntRange(0, 60).Draw(t, "loss")
		image := make([]byte, rapid.IntRange(1, 200_000).Draw(t, "size"))
		for i := range image {
			image[i] = byte(rng.Uint32())
		}
		f, err := NewFetch(NameOf(image), 0)
		if err != nil {
			t.Fatal(err)
		}
		var way []wire.Chunk
		for now := int64(0); ; now += 1e6 {
			if now > 200e9 {
				t.Fatalf("stuck at %d of %d bytes", len(f.have), len(image))
			}
			if m, ok := f.Due(now); ok && rng.IntN(100) >= loss {
				Serve(image, &m, func(c *wire.Chunk) {
					for range 1 + rng.IntN(2) {
						if rng.IntN(100) >= loss {
							way = append(way, *c)
						}
					}
				})
			}
			if len(way) == 0 {
				continue
			}
			i := 0
			if rng.IntN(4) == 0 {
				i = rng.IntN(len(way))
			}
			c := way[i]
			way = append(way[:i], way[i+1:]...)
			whole, err := f.Chunk(&c, now)
			if err != nil {
				t.Fatal(err)
			}
			if whole {
				break
			}
		}
		if !bytes.Equal(f.Bytes(), image) {
			t.Fatal("other bytes came")
		}
	})
}

// What a peer says of an image is not believed: its size bounds what is taken, its sum what
// is used, and a peer that stops is given up.
func TestFetchBelievesNothing(t *testing.T) {
	for _, size := range []uint32{0, ImageMax + 1} {
		if _, err := NewFetch(wire.Image{Size: size, Sum: 1}, 0); err == nil {
			t.Errorf("%d bytes are accepted", size)
		}
	}
	f, err := NewFetch(wire.Image{Size: 10, Sum: 1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []wire.Chunk{{Sum: 2, Data: make([]byte, 5)}, {Sum: 1, From: 5, Data: make([]byte, 5)}, {Sum: 1, Data: make([]byte, 11)}} {
		if whole, err := f.Chunk(&c, 1); whole || err != nil || len(f.have) != 0 {
			t.Errorf("%+v is taken", c)
		}
	}
	if f.Late(FetchLimit-1) || !f.Late(FetchLimit) {
		t.Error("given up at another time")
	}
	if _, err := f.Chunk(&wire.Chunk{Sum: 1, Data: make([]byte, 10)}, 1); !errors.Is(err, ErrImage) {
		t.Errorf("another sum: %v", err)
	}
	Serve(make([]byte, 100), &wire.Fetch{From: 200, Count: 255}, func(*wire.Chunk) { t.Error("a chunk from nowhere") })
}

func TestStore(t *testing.T) {
	s := Store{Path: filepath.Join(t.TempDir(), "policy.kept")}
	if g, _, err := s.Read(); err != nil || g.Number != 0 {
		t.Fatalf("%+v %v", g, err)
	}
	one, two := wire.Generation{Number: 1, Hash: 11}, wire.Generation{Number: 2, Hash: 22}
	expect := func(want wire.Generation, image string) {
		t.Helper()
		if g, b, err := s.Read(); err != nil || g != want || string(b) != image {
			t.Errorf("%+v %q %v", g, b, err)
		}
	}
	if err := errors.Join(s.Write(one, []byte("first")), s.Adopt(), s.Write(two, []byte("second"))); err != nil {
		t.Fatal(err)
	}
	expect(one, "first")
	if err := errors.Join(s.Discard(), s.Discard(), s.Write(two, []byte("second")), s.Adopt()); err != nil {
		t.Fatal(err)
	}
	expect(two, "second")
	whole, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		bent := bytes.Clone(whole)
		bent[i] ^= 1
		if _, _, err := decodeStore(bent); !errors.Is(err, ErrStore) {
			t.Errorf("byte %d bent: %v", i, err)
		}
		if _, _, err := decodeStore(whole[:i]); !errors.Is(err, ErrStore) {
			t.Errorf("cut to %d: %v", i, err)
		}
	}
	if err := (&Store{Path: "/proc/nowhere/x"}).Write(one, nil); err == nil {
		t.Error("written to nowhere")
	}
}

// diesAt names the point at which the process of the test below ends.
const diesAt = "HOLDFAST_TEST_DIES_AT"

// TestREL28_PowerCutWhileKeeping: a process that is killed at any point of writing leaves
// the old policy or the new one, whole, and the next writes as if nothing had been.
func TestREL28_PowerCutWhileKeeping(t *testing.T) {
	one, two := wire.Generation{Number: 1, Hash: 11}, wire.Generation{Number: 2, Hash: 22}
	if where := os.Getenv(diesAt); where != "" {
		point, err := strconv.Atoi(where)
		if err != nil {
			t.Fatal(err)
		}
		s := Store{Path: os.Getenv(diesAt + "_PATH"), At: func(p Point) {
			if p == Point(point) {
				_ = unix.Kill(os.Getpid(), unix.SIGKILL)
				select {} // until it arrives
			}
		}}
		t.Fatal(s.Write(two, []byte("second")), s.Adopt())
	}
	for p := PointBegun; p <= PointAdopted; p++ {
		s := Store{Path: filepath.Join(t.TempDir(), "policy.kept")}
		if err := errors.Join(s.Write(one, []byte("first")), s.Adopt()); err != nil {
			t.Fatal(err)
		}
		child := exec.Command(os.Args[0], "-test.run=^TestREL28_PowerCutWhileKeeping$")
		child.Env = append(os.Environ(), diesAt+"="+strconv.Itoa(int(p)), diesAt+"_PATH="+s.Path)
		if out, _ := child.CombinedOutput(); child.ProcessState.Sys().(interface{ Signaled() bool }).Signaled() == false {
			t.Fatalf("point %d: it was not killed: %s", p, out)
		}
		want := one
		if p >= PointRenamed {
			want = two
		}
		if g, _, err := s.Read(); err != nil || g != want {
			t.Errorf("point %d: generation %d is kept, want %d: %v", p, g.Number, want.Number, err)
		}
		three := wire.Generation{Number: 3, Hash: 33}
		if err := errors.Join(s.Write(three, []byte("third")), s.Adopt()); err != nil {
			t.Errorf("point %d: %v", p, err)
		}
	}
}
