package nat

// class is a range of ports that stand for one another, both ends included.
type class struct{ low, high uint16 }

// The classes of I2, as nf_nat has them: a port below 512 stays below 512, one below
// 1024 gets 600 to 1023 (some servers demand a reserved port, but those near 512 have
// services), every other one 1024 and up. A port that is free keeps its number, also
// one of 512 to 599. Number 0 is never given.
var (
	portClasses       = []class{{1, 511}, {600, 1023}, {1024, 65535}}
	identifierClasses = []class{{1, 65535}} // of ICMP queries
)

// classOf returns the class whose ports may stand for port.
func classOf(classes []class, port uint16) int {
	if len(classes) == 1 || port != 0 && port < 512 {
		return 0
	}
	if port != 0 && port < 1024 {
		return 1
	}
	return 2
}

// classFor returns the ports of a space that may stand for port.
func classFor(k space, port uint16) class {
	if k == identifiers {
		return identifierClasses[0]
	}
	return portClasses[classOf(portClasses, port)]
}
