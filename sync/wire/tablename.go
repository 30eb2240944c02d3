package wire

import "fmt"

// TableNameMax bounds the name of a table, in bytes.
const TableNameMax = 63

// ValidTableName returns why a table of that name cannot be told of, nil if it can.
func ValidTableName(name string) error {
	if name == "" || len(name) > TableNameMax {
		return fmt.Errorf("table name %q: needs 1 to %d bytes", name, TableNameMax)
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return fmt.Errorf("table name %q: only printable ASCII without spaces", name)
		}
	}
	return nil
}

func appendTableName(dst []byte, name string) []byte {
	dst = append(dst, uint8(len(name)))
	return append(dst, name...)
}

func (c *cursor) tableName() string {
	name := string(c.take(int(c.u8())))
	c.must(ValidTableName(name) == nil, BadValue)
	return name
}
