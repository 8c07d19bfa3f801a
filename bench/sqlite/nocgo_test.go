//go:build !mattn

package sqlite

import (
	_ "github.com/ncruces/go-sqlite3/driver"
	_ "github.com/ncruces/go-sqlite3/embed"
	_ "modernc.org/sqlite"
)

var drivers = []driver{
	{"modernc", "sqlite", "?_pragma=query_only(1)&_pragma=cache_size(-256)"},
	{"ncruces", "sqlite3", "?_pragma=query_only(1)&_pragma=cache_size(-256)"},
}
