package main

import (
	"context"
	"flag"
	"slices"
	"strings"
)

// storeVerbs is what chatd store can do.
func storeVerbs() []command {
	return []command{
		{name: "backup", run: storeBackup},
		{name: "check", run: storeCheck},
		{name: "copy", run: storeCopy},
		{name: "import", run: storeImport},
		{name: "export", run: storeExport},
	}
}

// storeCommand is chatd store.
func storeCommand(ctx context.Context, e environment, args []string) error {
	var names []string
	for _, v := range storeVerbs() {
		names = append(names, v.name)
	}
	if len(args) == 0 {
		return usagef("store needs one of %s", strings.Join(names, ", "))
	}
	if isHelp(args[0]) {
		return flag.ErrHelp
	}
	i := slices.Index(names, args[0])
	if i < 0 {
		return usagef("unknown command \"store %s\"%s", args[0], didYouMean(args[0], names))
	}
	return storeVerbs()[i].run(ctx, e, args[1:])
}
