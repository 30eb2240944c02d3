package config

// Pick says which of several targets a connection gets.
type Pick uint8

// The picks. The zero value is the default.
const (
	PickHash       Pick = iota // by both ends: the connections of a client spread
	PickSticky                 // by the client's address alone
	PickRoundRobin             // in turn
	PickRandom                 // by lot
	PickWeighted               // as sticky, in the proportion of the weights
)

var picks = []Pick{PickHash, PickSticky, PickRoundRobin, PickRandom, PickWeighted}

// String returns the word of the file.
func (p Pick) String() string {
	return [...]string{"hash", "sticky", "round-robin", "random", "weighted"}[p]
}

// MarshalText is String.
func (p Pick) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Mapping says which connections share an external port (RFC 4787 section 4.1).
type Mapping uint8

// The mappings. The zero value is the default.
const (
	MappingEndpointIndependent Mapping = iota // all of one inside endpoint
	MappingAddressAndPort                     // one to each remote endpoint
)

var mappings = []Mapping{MappingEndpointIndependent, MappingAddressAndPort}

// String returns the word of the file.
func (m Mapping) String() string {
	return [...]string{"endpoint-independent", "address-and-port-dependent"}[m]
}

// MarshalText is String.
func (m Mapping) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// Filtering says who outside may open a connection to an inside endpoint's external port
// (RFC 4787 section 5).
type Filtering uint8

// The filterings. The zero value is the default.
const (
	FilteringAddressAndPort Filtering = iota // nobody: only replies come in
	FilteringAddress                         // addresses that the endpoint has a connection with
	FilteringNone                            // everybody
)

var filterings = []Filtering{FilteringAddressAndPort, FilteringAddress, FilteringNone}

// String returns the word of the file.
func (f Filtering) String() string {
	return [...]string{"address-and-port-dependent", "address-dependent", "endpoint-independent"}[f]
}

// MarshalText is String.
func (f Filtering) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// Pooling says how an inside address uses several external ones (RFC 4787 section 4.1).
type Pooling uint8

// The poolings. The zero value is the default.
const (
	PoolingPaired    Pooling = iota // one for all its connections
	PoolingArbitrary                // any for each
)

var poolings = []Pooling{PoolingPaired, PoolingArbitrary}

// String returns the word of the file.
func (p Pooling) String() string { return [...]string{"paired", "arbitrary"}[p] }

// MarshalText is String.
func (p Pooling) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
