package config

// Hash returns a number by which nodes compare policies. It is that of the policy's
// canonical form: what it means in fixed order, with macros and includes expanded and
// defaults filled in, without positions, comments and layout. That a value is written counts
// where another may change its default: of a rule see overrides, of [defaults] the key log.
// Nodes of different versions may see different hashes for one text where a version adds a
// key.
//
// The form is binary and goes by the fields themselves, and not through JSON as Diff's does: a
// policy may have 100,000 rules, and every reload and every start takes its hash. Fields
// follow each other without names; see form for why no two policies have one form.
func (p *Policy) Hash() uint64 {
	f := newForm()
	p.put(f)
	return f.sum()
}

// put writes what a policy means. Macros stand where they were used.
func (p *Policy) put(f *form) {
	each(f, p.Ports, (*Port).put)
	each(f, p.Groups, (*Group).put)
	p.Cluster.put(f)
	each(f, p.Gateways, (*Gateway).put)
	each(f, p.Routes, (*Route).put)
	each(f, p.Tables, (*Table).put)
	each(f, p.NAT, (*NAT).put)
	each(f, p.Limits, (*Limit).put)
	p.Defaults.put(f)
	each(f, p.Sections, (*Section).put)
	each(f, p.Rules, (*Rule).put)
	p.Timeouts.put(f)
}

func (r *Rule) put(f *form) {
	f.text(r.ID.V)
	// One byte each: most rules leave most of these as they are.
	f.bytes(uint8(r.Action.V), uint8(r.Mode.V), uint8(r.Sync.V), bit(r.PickUp.V), uint8(r.Flush.V),
		uint8(r.Log.V), uint8(r.OnChange.V), uint8(r.SynProxy.V), uint8(r.Reject.V), r.overrides())
	r.putAsks(f)
	f.text(r.Gateway.V)
	list(f, r.Labels, (*form).text)
	each(f, r.Timers, (*Timer).put)
	f.text(r.Limit.V)
	if f.has(r.OwnLimit != nil) {
		r.OwnLimit.put(f)
	}
	f.text(r.Overload.V)
	f.text(r.Tag.V)
	f.number(uint64(len(r.Within)))
	for i := range r.Within {
		f.text(r.Within[i].Section) // what its place asks is the section's, and written once
	}
}

// putAsks writes what a rule asks of a packet.
func (r *Rule) putAsks(f *form) {
	list(f, r.In, (*form).text)
	list(f, r.Out, (*form).text)
	list(f, r.From, (*form).element)
	list(f, r.To, (*form).element)
	octets(f, r.Protos)
	list(f, r.FromPorts, (*form).ports)
	list(f, r.ToPorts, (*form).ports)
	octets(f, r.ICMPTypes)
	c := &r.Conditions
	f.bytes(c.TCPFlags.V.Set, c.TCPFlags.V.Mask, bit(c.IPOptions.V))
	list(f, c.TTL, func(f *form, r ByteRange) { f.bytes(r.First, r.Last) })
	octets(f, c.DSCP)
	list(f, c.Tagged, (*form).text)
	list(f, c.NotTagged, (*form).text)
}

// overrides returns a bit for each key that the rule has and whose default another may
// change: what a match rule before it says, or the policy's [defaults]. ip_options = false
// asks for packets without.
func (r *Rule) overrides() (said uint8) {
	for i, written := range [8]bool{
		r.Mode.Written(), r.Sync.Written(), r.PickUp.Written(), r.SynProxy.Written(),
		r.Log.Written(), r.OnChange.Written(), r.Reject.Written(), r.IPOptions.Written(),
	} {
		if written {
			said |= 1 << i
		}
	}
	return said
}

// put writes a section's name and what its place asks; its rules are among the policy's.
func (s *Section) put(f *form) {
	f.text(s.Name.V)
	if f.has(s.asks != nil) {
		s.asks.put(f)
	}
}

func (p *Port) put(f *form) {
	f.text(p.Name.V)
	list(f, p.Addresses, (*form).prefix)
	f.bytes(p.MAC.V[:]...)
	f.bytes(uint8(p.Antispoof.V))
	f.number(uint64(p.Clamp.V))
}

func (g *Group) put(f *form) {
	f.text(g.Name.V)
	list(f, g.Ports, (*form).text)
}

func (c *Cluster) put(f *form) {
	f.duration(c.Heartbeat.V)
	f.duration(c.DeadAfter.V)
	f.duration(c.Lease.V)
	f.bytes(uint8(c.Alone.V))
	f.duration(c.AloneAfter.V)
	f.duration(c.PreemptAfter.V)
	f.duration(c.DeferMax.V)
}

func (g *Gateway) put(f *form) {
	f.text(g.Name.V)
	f.text(g.Port.V)
	f.address(g.Address.V)
	g.Probe.put(f)
}

func (p *Probe) put(f *form) {
	f.bytes(uint8(p.Kind.V))
	f.address(p.Target.V.Addr())
	f.number(uint64(p.Target.V.Port()))
	f.duration(p.Interval.V)
	f.duration(p.Timeout.V)
	f.number(uint64(p.Lost.V))
	f.number(uint64(p.Answered.V))
}

func (r *Route) put(f *form) {
	list(f, r.In, (*form).text)
	list(f, r.From, (*form).element)
	list(f, r.To, (*form).element)
	octets(f, r.Protos)
	list(f, r.ToPorts, (*form).ports)
	each(f, r.Gateways, func(w *Weighted, f *form) {
		f.text(w.Gateway.V)
		f.number(uint64(w.Weight.V))
	})
	f.bytes(uint8(r.Stick.V))
}

// put writes a table. What its file says stands in Addresses.
func (t *Table) put(f *form) {
	f.text(t.Name.V)
	list(f, t.Addresses, (*form).element)
	f.duration(t.Timeout.V)
	f.number(uint64(t.Max.V))
	f.bytes(bit(t.Const.V))
}

func (n *NAT) put(f *form) {
	f.bytes(uint8(n.Kind.V), uint8(n.Pick.V), uint8(n.Mapping.V), uint8(n.Filtering.V), uint8(n.Pooling.V), bit(n.Hairpin.V))
	list(f, n.In, (*form).text)
	list(f, n.Out, (*form).text)
	list(f, n.From, (*form).element)
	list(f, n.To, (*form).element)
	octets(f, n.Protos)
	list(f, n.FromPorts, (*form).ports)
	list(f, n.ToPorts, (*form).ports)
	list(f, n.Targets, func(f *form, t Target) {
		f.address(t.First)
		f.address(t.Last)
		f.number(uint64(t.Weight))
	})
	f.ports(n.TargetPort.V)
	f.number(uint64(n.PortsPerSource.V))
	f.duration(n.HoldDown.V)
}

func (l *Limit) put(f *form) {
	f.text(l.Name.V)
	f.number(uint64(l.Connections.V))
	f.number(uint64(l.Rate.V.Count))
	f.duration(l.Rate.V.Per)
	f.bytes(l.Mask4.V, l.Mask6.V)
}

func (d *Defaults) put(f *form) {
	f.bytes(uint8(d.Action.V), uint8(d.Reject.V), uint8(d.OnChange.V), uint8(d.SynProxy.V),
		uint8(d.Log.V), bit(d.Log.Written())) // not written, match rules say it
}

func (t *Timeouts) put(f *form) {
	f.bytes(uint8(t.Profile.V))
	f.number(uint64(t.Adaptive.Start.V))
	f.number(uint64(t.Adaptive.End.V))
	each(f, t.Timers, (*Timer).put)
}

func (t *Timer) put(f *form) {
	f.text(t.Name)
	f.bytes(uint8(t.Scope))
	f.duration(t.Idle.V)
}
