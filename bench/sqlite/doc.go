// Package sqlite measures drivers of SQLite by what chatd's store does most: messages of many writers committed together, pages of
// messages, friends lists. It is a module of its own, so that no driver but chatd's is in chatd's. All drivers run the
// same code over database/sql, with the schema and the statements of store/sqlstore:
//
//	go test -run '^$' -bench . -benchtime 3s -count 5
//	go test -run '^$' -bench . -benchtime 3s -count 5 -tags mattn
//
// The first measures the drivers without cgo, the second the one with it: two of them claim the same name.
package sqlite
