run_as_root = true -- only if whoever runs the comparison is root
daemonize = false
pidfile = "{{.Dir}}/prosody.pid"
data_path = "{{.Dir}}/data"
log = { warn = "{{.Dir}}/prosody.log" }

interfaces = { "127.0.0.1" }
c2s_ports = { {{.Plain}} }
c2s_direct_tls_ports = { {{.TLS}} }
network_settings = { tcp_backlog = 4096 }
ssl = { certificate = "{{.CertFile}}", key = "{{.KeyFile}}" }
c2s_direct_tls_ssl = { certificate = "{{.CertFile}}", key = "{{.KeyFile}}" }
c2s_require_encryption = false
allow_registration = true
authentication = "internal_hashed"
password_hash = "SHA-256"
storage = "internal"
limits = {}

-- What chatd has too; mod_offline, mod_c2s, mod_presence, mod_message and mod_iq load by themselves.
modules_enabled = {
	"blocklist", "carbons", "csi_simple", "disco", "lastactivity", "pep", "ping", "private", "register_ibr", "roster",
	"saslauth", "smacks", "time", "tls", "vcard4", "vcard_legacy", "version",
}
modules_disabled = { "s2s" }

VirtualHost "{{.Domain}}"
Component "conference.{{.Domain}}" "muc"
