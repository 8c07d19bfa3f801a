//go:build mattn

package sqlite

import _ "github.com/mattn/go-sqlite3"

var drivers = []driver{{"mattn", "sqlite3", "?_query_only=1&_cache_size=-256"}}
