package memory_test

import (
	"testing"

	"chatd/store"
	"chatd/store/memory"
	"chatd/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return memory.New() })
}
