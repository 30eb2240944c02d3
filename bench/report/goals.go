package report

// Goal is a row of the goals: what must be reached, and where the project is going.
type Goal struct {
	ID, Name  string
	Must, Aim string
	Missing   string // why no scenario measures it yet; empty: one does
	HeldBack  string // what holds it back where a must is missed, without figures
}

// Goals are the rows, in order. Points carry the numbers.
var Goals = []Goal{
	{ID: "N1", Name: "forwarded packets/s, established, 64 bytes, to a bare AF_XDP forwarder on the same ports",
		Must: "0.85x at 64k connections, 0.80x at 1M", Aim: "0.92x, 0.90x",
		HeldBack: "The path of a packet beside the kernel's transmit call, which both forwarders pay: decoding, lookup with its hash, the lock of the entry. With generator and sink on the same two cores, what costs the firewall also slows the generator's half of the veth."},
	{ID: "N2", Name: "ns per tracked packet, tracker alone", Must: "80 / 150 / 200 ns at 1k / 1M / 10M", Aim: "30 / 60 / 80 ns",
		HeldBack: "Decoding, the lookup with its hash, and the entry's lock have a fifth each; the window a tenth; then translation, result and counters. Lookups in bursts hide the memory."},
	{ID: "N3", Name: "ns per new connection, tracker and journal", Must: "250 / 400 / 500 ns at 1k / 1M / 10M", Aim: "80 / 150 / 200 ns",
		HeldBack: "The locked instructions of a new connection (two shards, free list, class, incarnation) are a third; export for the journal and its encoding a fifth each; beyond the cache the miss of the reply's bucket, which nothing hides yet."},
	{ID: "N4", Name: "bytes per connection, all in", Must: "200 bytes", Aim: "112 IPv4 with NAT, 160 IPv6",
		HeldBack: "The entry itself."},
	{ID: "N5", Name: "first-packet rule match", Must: "60 / 150 / 250 / 500 ns at 10 / 1k / 10k / 100k rules", Aim: "20 / 45 / 70 / 110 ns",
		HeldBack: "Lines of memory that a search touches: shapes with many wide rules (fw) have deeper trees. The rest is the verdict and the packet's form."},
	{ID: "N6", Name: "reload of 100k rules under traffic", Must: "2 s, nothing lost", Aim: "400 ms cold, 20 ms a small change",
		HeldBack: "Reading the text: a rule with its positions is large."},
	{ID: "N7", Name: "replication bytes: new / update / delete", Must: "80 / 32 / 16", Aim: "56 / 20 / 8",
		HeldBack: "Updates: 30 bytes of message, and the datagram's 86 of seal and headers shared out among the 18 to 46 that it holds. A byte less is a new version of the language."},
	{ID: "N8", Name: "throughput with replication on, to off", Must: "0.90x forwarding, 0.80x all-new", Aim: "0.95x, 0.90x",
		HeldBack: "The datagram of each turn: the system call, and behind it the receiver's half, which a veth bills to the sender. Then the pass that proves the tables equal, every second."},
	{ID: "N9", Name: "bulk transfer to a joining node under a live stream", Must: "500k connections/s", Aim: "4 M/s",
		HeldBack: "Who applies: half of it the table's memory, the rest decoding, the port's owner and the ledger; and batches that are sent again because a gap is asked for while the answer lies in the socket."},
	{ID: "N10", Name: "blackout after kill -9 of the active node", Must: "p50 50 ms, worst 200 ms", Aim: "6 ms, 20 ms",
		HeldBack: "Detection: heartbeats, and on this machine the scheduling of two nodes, hosts and probes on two cores."},
	{ID: "N11", Name: "planned switch-over", Must: "no packet lost at 10k/s", Aim: "the same at half of full load",
		Missing: "no scenario switches a loaded pair over yet; the demo only kills"},
	{ID: "N12", Name: "established connections lost in a failover", Must: "0 of 100,000", Aim: "0 at full connection rate with defer",
		HeldBack: "See the row's notes."},
	{ID: "N13", Name: "take-over work at promotion with 1M connections", Must: "20 ms", Aim: "independent of table size",
		Missing: "no scenario promotes a node with a full table yet"},
	{ID: "N14", Name: "kill by label, gateway, port or rule", Must: "20 ms at 1M and 10M", Aim: "1 ms"},
	{ID: "N15", Name: "kill by any selector", Must: "300 ms at 1M", Aim: "15 ms at 1M, 150 ms at 10M"},
	{ID: "N16", Name: "two workers against one, tracker alone", Must: "1.6x", Aim: "1.9x",
		HeldBack: "Both cores measure, so whatever else the machine does lowers the ratio. At 1k connections two workers meet on the same entries."},
	{ID: "N17", Name: "one-way latency at half load, p99, to the bare forwarder", Must: "1.5x", Aim: "1.2x",
		Missing:  "no scenario sends at half load with a sink that reads time stamps yet",
		HeldBack: "On two cores the scheduler's share of the 99th percentile is the larger one."},
	{ID: "N18", Name: "deferred first packet", Must: "p50 500 us", Aim: "p50 40 us, p99 200 us"},
}

// heldBack is the same of rows that are not among the goals.
var heldBack = map[string]string{
	"flood":  "Under pressure first packets are shed, those of clients among them, unless the SYN proxy answers for the servers (docs/syn-proxy.md); this row runs without it.",
	"rounds": "Not known: on a machine that is busy the scatter of this row is larger than what it measures.",
	"loss":   "Rings that overflow while the firewall's core does something else.",
}

// missing is why there are no figures, where no result has the row.
func (g *Goal) missing() string {
	if g.Missing != "" {
		return g.Missing
	}
	return "no committed result has it"
}

func goalOf(id string) Goal {
	for _, g := range Goals {
		if g.ID == id {
			return g
		}
	}
	return Goal{ID: id, Name: id, HeldBack: heldBack[id]}
}
