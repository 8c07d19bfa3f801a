// Package apiclient is a client of the private API, generated from its OpenAPI document: for tests here, and an example of what
// other services can have generated for themselves, in any language.
package apiclient

//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.5.0 -generate types -exclude-tags Operation -package apiclient -o types.go openapi-3.0.json
//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.5.0 -generate client -exclude-tags Operation -package apiclient -o client.go openapi-3.0.json
