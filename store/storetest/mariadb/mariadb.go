// Package mariadb runs a MariaDB server of a test's own, on a free port of loopback and in a folder that goes with
// the test. It starts within a second.
package mariadb

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	// Name and Password are those of the account that may do everything.
	Name     = "tester"
	Password = "a secret"

	patience = 60 * time.Second // for the server to start or to end
)

// A Server is one server. Its methods are for one goroutine, but for Addr, DSN, Database and Exec.
type Server struct {
	dir       string // has data, tmp and log
	port      int
	options   []string
	cmd       *exec.Cmd     // nil: not running
	ended     chan struct{} // closed when cmd has ended
	databases atomic.Int64
}

// Durable is the option for a server that waits for the disk, as a benchmark needs it. Without it what was committed outlives the
// process and not the machine.
const Durable = "--skip-debug-no-sync"

// Start makes a server with no database in it, which ends with the test. options are more of mariadbd's, such as
// --max-connections=4. Without mariadbd the test is skipped, or fails where CI=true.
func Start(t testing.TB, options ...string) *Server {
	t.Helper()
	if _, err := program(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("scripts/setup.sh has not installed MariaDB:", err)
		}
		t.Skip("SKIPPED: no MariaDB here; scripts/setup.sh installs it:", err)
	}
	s, err := Run(t.TempDir(), options...)
	if err != nil {
		t.Fatal("mariadb: ", err)
	}
	t.Cleanup(s.Kill)
	return s
}

// Run is Start outside of tests: the server has its data in dir, which is made if need be, and runs until Kill.
func Run(dir string, options ...string) (*Server, error) {
	s := &Server{dir: dir, options: options}
	if err := errors.Join(os.MkdirAll(s.data(), 0o700), os.MkdirAll(s.tmp(), 0o700)); err != nil {
		return nil, err
	}
	if err := s.install(); err != nil {
		return nil, err
	}
	// Another program may take the port between its choice and its use.
	for range 5 {
		var err error
		if s.port, err = freePort(); err != nil {
			return nil, err
		}
		if s.start() == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("mariadbd does not start:\n%s", s.log())
}

// program is mariadbd, which Debian keeps out of the way of those who are not root.
func program() (string, error) {
	if path, err := exec.LookPath("mariadbd"); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/mariadbd")
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func (s *Server) command(options ...string) (*exec.Cmd, error) {
	path, err := program()
	if err != nil {
		return nil, err
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	return exec.Command(path, append([]string{"--no-defaults", "--datadir=" + s.data(), "--user=" + me.Username,
		// Not one that others have, too: a server that starts removes all temporary tables from it.
		"--tmpdir=" + s.tmp(),
		// A small database, which is quick to make.
		"--innodb-data-file-path=ibdata1:1M:autoextend", "--innodb-temp-data-file-path=ibtmp1:1M:autoextend",
		"--innodb-autoextend-increment=1", "--innodb-log-file-size=32M", "--innodb-buffer-pool-size=128M",
		"--debug-no-sync"}, options...)...), nil
}

// install makes the server's own tables and the account, as mariadb-install-db does, which needs more packages and
// more time.
func (s *Server) install() error {
	input := bytes.NewBufferString("CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\nSET @skip_auth_anonymous=1;\n")
	for _, name := range []string{"mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql"} {
		text, err := os.ReadFile(filepath.Join("/usr/share/mysql", name))
		if err != nil {
			return err
		}
		input.Write(text)
	}
	fmt.Fprintf(input, "FLUSH PRIVILEGES;\nCREATE USER %s@'%%' IDENTIFIED BY '%s';\nGRANT ALL ON *.* TO %[1]s@'%%' WITH GRANT OPTION;\n", Name, Password)
	cmd, err := s.command("--bootstrap", "--skip-networking")
	if err != nil {
		return err
	}
	cmd.Stdin = input
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w:\n%s", err, out)
	}
	return nil
}

func (s *Server) start() error {
	cmd, err := s.command(append([]string{"--bind-address=127.0.0.1", "--port=" + strconv.Itoa(s.port), "--socket=sock",
		"--skip-name-resolve", "--back-log=512", "--max-connections=300"}, s.options...)...)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("tcp", s.Addr()); err == nil {
			conn.Close()
			break
		}
		select {
		case <-ended:
			return errors.New("mariadbd has ended")
		default:
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			<-ended
			return errors.New("mariadbd does not listen")
		}
	}
	s.cmd, s.ended = cmd, ended
	return nil
}

func (s *Server) data() string    { return filepath.Join(s.dir, "data") }
func (s *Server) tmp() string     { return filepath.Join(s.dir, "tmp") }
func (s *Server) logPath() string { return filepath.Join(s.dir, "log") }

func (s *Server) log() []byte {
	text, _ := os.ReadFile(s.logPath())
	return text[max(0, len(text)-4000):]
}

// Addr is where the server listens, host:port. It stays the same over Restart.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Kill ends the server as kill -9 does.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.ended
	s.cmd = nil
}

// Pause stops the server where it stands, with its connections open, until Continue.
func (s *Server) Pause(t testing.TB) { s.signal(t, syscall.SIGSTOP) }

// Continue goes on after Pause.
func (s *Server) Continue(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// Restart starts the server again after Kill, with the same data and address.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	// The address may be in use for a moment longer than the process.
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := s.start()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("mariadb does not start again: %v\n%s", err, s.log())
		}
	}
}

// Database makes an empty database and returns its DSN.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", s.databases.Add(1))
	s.Exec(t, "CREATE DATABASE "+name)
	return s.DSN(name)
}

// DSN names a database of this server for github.com/go-sql-driver/mysql.
func (s *Server) DSN(database string) string {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.DBName = Name, Password, "tcp", s.Addr(), database
	return cfg.FormatDSN()
}

// Via is a DSN with another address in it, such as that of a proxy.
func Via(t testing.TB, dsn, addr string) string {
	t.Helper()
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Addr = addr
	return cfg.FormatDSN()
}

// Exec runs statements, each by itself, as the account that may do everything.
func (s *Server) Exec(t testing.TB, statements ...string) {
	t.Helper()
	db := Open(t, s.DSN("")+"?tls=preferred")
	for _, text := range statements {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", strings.TrimSpace(text), err)
		}
	}
}

// Open is a database for the test's own eyes.
func Open(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
