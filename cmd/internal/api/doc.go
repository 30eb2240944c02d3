// Package api is the daemon's face: HTTP and JSON over a unix socket. Its objects are
// the ones that every command prints with --json, so what a script reads from a
// command and from the socket is the same.
//
//	GET  /v1/status                    Status
//	GET  /v1/conns?selector=WORDS      Conns
//	GET  /v1/drops                     Drops
//	GET  /v1/crashes                   Crashes
//	GET  /v1/tables                    Tables
//	GET  /v1/tables/NAME               TableEntries
//	GET  /v1/tables/NAME/test?address=A  TableTest
//	GET  /v1/watch?selector=WORDS      WatchEvent, one per line (NDJSON), until the client goes
//	POST /v1/kill     KillRequest      KillResult
//	POST /v1/tables/add, delete, flush, replace   TableRequest   TableChange
//	GET  /v1/rules                     Rules
//	POST /v1/plan     PlanRequest      Plan
//	POST /v1/reload   ReloadRequest    Plan
//	POST /v1/confirm  ConfirmRequest   Done
//	POST /v1/promote  PromoteRequest   Done
//	POST /v1/demote   DemoteRequest    Done
//
// Errors are an Error object with the status 400 (wrong usage), 409 (refused) or 404.
// The socket is created with mode 0600: who may open it may do everything. There is no
// TCP listener.
//
// Times are RFC 3339, durations seconds as numbers, unless a field's name says _ms.
package api
