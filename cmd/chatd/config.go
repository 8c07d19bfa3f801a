package main

import (
	"chatd/api"
	"chatd/muc"
	"chatd/webhook"
)

// A Config is what the configuration file says, with defaults where it says
// nothing. docs/configuration.md describes every key; a test compares the two.
type Config struct {
	File  string         // where it comes from; "" in development mode
	lines map[string]int // of every key and section in File

	Domain string
	Data   string
	C2S    struct {
		Listen, ListenTLS      []string
		TLS                    string
		CertFile, KeyFile      string
		MaxStanzaBytes         int
		Registration           bool
		RegistrationsPerMinute int
		ConnectionsPerAddress  int
		ProxyProtocolFrom      []string // addresses and networks
		ResourceConflict       string
		ResourcesPerUser       int
		ResumeSeconds          int
		UnackedStanzas         int
		UnackedBytes           int
		Address                string
		DrainSeconds           int
		DrainTo                []string
		Limits                 struct {
			StanzasPerSecond float64
			StanzaBurst      int
			BytesPerSecond   float64
			ByteBurst        int
			LoginsPerSecond  float64
		}
	}
	Auth struct {
		SCRAM        []string
		CachedLogins int // users
		Token        struct {
			Issuer, Audience          string
			Secret, JWKSFile, JWKSURL string
			Refresh, Leeway           int // seconds
			UserClaim                 string
		}
	}
	Roster  struct{ MaxContacts int }
	Message struct {
		RequireFriendship bool
		OfflineMax        int
		Filter            struct {
			URL, Secret string
			TimeoutMS   int
			OnFailure   string
			Types       []string
		}
	}
	Rules struct {
		RequireFriendship []string
		RequestsPerMinute int
	}
	MUC struct {
		Host string
		muc.Config
	}
	Store struct {
		Driver, DSN, Durability            string
		PatienceSeconds, Connections       int
		TLSCAFile, TLSCertFile, TLSKeyFile string
	}
	Cluster struct {
		Node, Gossip, Link             string
		AdvertiseGossip, AdvertiseLink string
		Join                           []string
		Secret                         string
		Weight                         int
	}
	HTTP struct {
		Listen            []string
		TLS, URL          string
		ProxyProtocolFrom []string // addresses and networks
	}
	API struct {
		Listen    []string
		Tokens    []api.Token
		PlayerJID string
	}
	Webhooks []webhook.Hook
}

func defaultConfig() *Config {
	c := &Config{Domain: "localhost", Data: "./chatd-data"}
	c.C2S.Listen = []string{"127.0.0.1:5222"}
	c.C2S.ListenTLS = []string{"127.0.0.1:5223"}
	c.C2S.TLS = "required"
	c.C2S.MaxStanzaBytes = 262144
	c.C2S.RegistrationsPerMinute = 10
	c.C2S.ResourceConflict = "replace"
	c.C2S.ResourcesPerUser = 50
	c.C2S.ResumeSeconds = 300
	c.C2S.UnackedStanzas = 5000
	c.C2S.UnackedBytes = 1 << 20
	c.C2S.DrainSeconds = 10
	c.C2S.Limits.StanzasPerSecond = 50
	c.C2S.Limits.StanzaBurst = 200
	c.C2S.Limits.BytesPerSecond = 65536
	c.C2S.Limits.ByteBurst = 262144
	c.Auth.SCRAM = []string{"SCRAM-SHA-256", "SCRAM-SHA-1"}
	c.Auth.Token.Refresh = 3600
	c.Auth.Token.UserClaim = "sub"
	c.Auth.Token.Leeway = 30
	c.Roster.MaxContacts = 300
	c.Message.OfflineMax = 1000
	c.Message.Filter.TimeoutMS = 500
	c.Message.Filter.OnFailure = "open"
	c.Message.Filter.Types = []string{"chat", "normal", "groupchat"}
	c.Rules.RequestsPerMinute = 120
	c.MUC.Config = muc.DefaultConfig()
	c.Store.Driver = "sqlite"
	c.Store.Durability = "full"
	c.Store.Connections = 16
	c.Store.PatienceSeconds = 3
	c.Cluster.Weight = 1
	c.HTTP.TLS = "on"
	c.API.Listen = []string{"127.0.0.1:5281"}
	c.API.PlayerJID = "sum%d"
	return c
}

// developmentConfig is what chatd runs with when it is given no file: reachable
// from this machine only, and open to whoever is on it.
func developmentConfig() *Config {
	c := defaultConfig()
	c.C2S.Listen = []string{"127.0.0.1:5222", "[::1]:5222"}
	c.C2S.ListenTLS = []string{"127.0.0.1:5223", "[::1]:5223"}
	c.C2S.Registration = true
	c.HTTP.Listen = []string{"127.0.0.1:5280", "[::1]:5280"}
	c.HTTP.TLS = "off"
	c.C2S.DrainSeconds = 0
	return c
}

// A setting is one key of the configuration file.
type setting struct {
	key  string
	when when
	value
}

// when says how a changed setting takes effect.
type when string

const (
	reload  when = "reload"  // on SIGHUP or when the file changes, for what begins afterwards
	restart when = "restart" // only when chatd is started again
)

// settings is the table of all keys, bound to the fields of c.
func (c *Config) settings(getenv func(string) string) []setting {
	r := revealer{c.File, getenv}
	return []setting{
		{"domain", restart, domainName(&c.Domain)},
		{"data", restart, filePath(&c.Data, c.File)},

		{"c2s.listen", restart, addresses(&c.C2S.Listen)},
		{"c2s.listen_tls", restart, addresses(&c.C2S.ListenTLS)},
		{"c2s.tls", reload, choice(&c.C2S.TLS, "required", "optional", "off")},
		{"c2s.cert_file", reload, filePath(&c.C2S.CertFile, c.File)},
		{"c2s.key_file", reload, filePath(&c.C2S.KeyFile, c.File)},
		// RFC 6120 §13.12: a limit below 10,000 bytes is not allowed.
		{"c2s.max_stanza_bytes", reload, number(&c.C2S.MaxStanzaBytes, 10_000, 16<<20)},
		{"c2s.registration", reload, boolean(&c.C2S.Registration)},
		{"c2s.registrations_per_minute", reload, number(&c.C2S.RegistrationsPerMinute, 0, 1_000_000)},
		{"c2s.connections_per_address", reload, number(&c.C2S.ConnectionsPerAddress, 0, 1_000_000)},
		{"c2s.proxy_protocol_from", reload, networks(&c.C2S.ProxyProtocolFrom)},
		{"c2s.resource_conflict", reload, choice(&c.C2S.ResourceConflict, "replace", "refuse", "rename")},
		{"c2s.resources_per_user", reload, number(&c.C2S.ResourcesPerUser, 1, 10_000)},
		{"c2s.resume_seconds", reload, number(&c.C2S.ResumeSeconds, 1, 86400)},
		{"c2s.unacked_stanzas", reload, number(&c.C2S.UnackedStanzas, 10, 1_000_000)},
		{"c2s.unacked_bytes", reload, number(&c.C2S.UnackedBytes, 16384, 1<<30)},
		{"c2s.address", reload, destination(&c.C2S.Address)},
		{"c2s.drain_seconds", reload, number(&c.C2S.DrainSeconds, 0, 3600)},
		{"c2s.drain_to", reload, destinations(&c.C2S.DrainTo)},

		{"c2s.limits.stanzas_per_second", reload, number(&c.C2S.Limits.StanzasPerSecond, 0, 1_000_000)},
		{"c2s.limits.stanza_burst", reload, number(&c.C2S.Limits.StanzaBurst, 1, 1_000_000)},
		{"c2s.limits.bytes_per_second", reload, number(&c.C2S.Limits.BytesPerSecond, 0, 1_000_000_000)},
		{"c2s.limits.byte_burst", reload, number(&c.C2S.Limits.ByteBurst, 1, 1_000_000_000)},
		{"c2s.limits.logins_per_second", reload, number(&c.C2S.Limits.LoginsPerSecond, 0, 1_000_000)},

		{"auth.scram", reload, choices(&c.Auth.SCRAM, "SCRAM-SHA-256", "SCRAM-SHA-1")},
		{"auth.cached_logins", restart, number(&c.Auth.CachedLogins, 0, 10_000_000)},
		{"auth.token.issuer", reload, text(&c.Auth.Token.Issuer)},
		{"auth.token.audience", reload, text(&c.Auth.Token.Audience)},
		{"auth.token.secret", reload, r.tokenSecret(&c.Auth.Token.Secret)},
		{"auth.token.jwks_file", reload, filePath(&c.Auth.Token.JWKSFile, c.File)},
		{"auth.token.jwks_url", reload, webAddress(&c.Auth.Token.JWKSURL)},
		{"auth.token.refresh", reload, number(&c.Auth.Token.Refresh, 10, 86400)},
		{"auth.token.user_claim", reload, claimName(&c.Auth.Token.UserClaim)},
		{"auth.token.leeway", reload, number(&c.Auth.Token.Leeway, 0, 300)},

		{"roster.max_contacts", reload, number(&c.Roster.MaxContacts, 1, 100_000)},
		{"message.require_friendship", reload, boolean(&c.Message.RequireFriendship)},
		{"message.offline_max", restart, number(&c.Message.OfflineMax, 1, 1_000_000)},
		{"message.filter.url", reload, webAddress(&c.Message.Filter.URL)},
		{"message.filter.secret", reload, r.hookSecret(&c.Message.Filter.Secret)},
		{"message.filter.timeout_ms", reload, number(&c.Message.Filter.TimeoutMS, 10, 10_000)},
		{"message.filter.on_failure", reload, choice(&c.Message.Filter.OnFailure, "open", "closed")},
		{"message.filter.types", reload, choices(&c.Message.Filter.Types, "chat", "normal", "groupchat", "headline")},
		{"rules.require_friendship", reload, choices(&c.Rules.RequireFriendship, "messages", "presence", "invitations")},
		{"rules.requests_per_minute", reload, number(&c.Rules.RequestsPerMinute, 0, 100_000)},
		{"muc.host", restart, optionalDomain(&c.MUC.Host)},
		{"muc.create", reload, choice(&c.MUC.Create, muc.Anyone, muc.Services)},
		{"muc.persistent", reload, choice(&c.MUC.Persistent, muc.Anyone, muc.Services)},
		{"muc.rooms", reload, number(&c.MUC.Rooms, 0, 100_000_000)},
		{"muc.occupants", reload, number(&c.MUC.Occupants, 0, 1_000_000)},
		{"muc.affiliations", reload, number(&c.MUC.Affiliates, 0, 1_000_000)},
		{"muc.creations_per_minute", reload, number(&c.MUC.CreationsPerMinute, 0, 1_000_000)},
		{"muc.joins_per_minute", reload, number(&c.MUC.JoinsPerMinute, 0, 1_000_000)},
		{"muc.room_joins_per_second", reload, number(&c.MUC.RoomJoinsPerSecond, 0, 1_000_000)},
		{"muc.room_join_burst", reload, number(&c.MUC.RoomJoinBurst, 1, 1_000_000)},
		{"muc.nicks_per_minute", reload, number(&c.MUC.NicksPerMinute, 0, 1_000_000)},
		{"muc.messages_per_second", reload, number(&c.MUC.MessagesPerSecond, 0, 1_000_000)},
		{"muc.message_burst", reload, number(&c.MUC.MessageBurst, 1, 1_000_000)},
		{"muc.room_messages_per_second", reload, number(&c.MUC.RoomMessagesPerSecond, 0, 1_000_000)},
		{"muc.room_message_burst", reload, number(&c.MUC.RoomMessageBurst, 1, 1_000_000)},
		{"muc.message_bytes", reload, number(&c.MUC.MessageBytes, 0, 16<<20)},
		{"muc.presence_bytes", reload, number(&c.MUC.PresenceBytes, 0, 16<<20)},
		{"muc.history_messages", reload, number(&c.MUC.HistoryMessages, 0, 10_000)},
		{"muc.history_bytes", reload, number(&c.MUC.HistoryBytes, 0, 16<<20)},
		{"muc.history_stored", reload, number(&c.MUC.HistoryStored, 0, 100_000_000)},
		{"store.driver", restart, choice(&c.Store.Driver, "sqlite", "mysql", "riak")},
		{"store.dsn", restart, r.secret(&c.Store.DSN)},
		{"store.durability", restart, choice(&c.Store.Durability, "full", "normal")},
		{"store.connections", restart, number(&c.Store.Connections, 2, 1000)},
		{"store.tls_ca_file", restart, filePath(&c.Store.TLSCAFile, c.File)},
		{"store.tls_cert_file", restart, filePath(&c.Store.TLSCertFile, c.File)},
		{"store.tls_key_file", restart, filePath(&c.Store.TLSKeyFile, c.File)},
		{"store.patience_seconds", restart, number(&c.Store.PatienceSeconds, 1, 60)},

		{"cluster.node", restart, nodeLabel(&c.Cluster.Node)},
		{"cluster.gossip", restart, listenAddress(&c.Cluster.Gossip)},
		{"cluster.link", restart, listenAddress(&c.Cluster.Link)},
		{"cluster.advertise_gossip", restart, destination(&c.Cluster.AdvertiseGossip)},
		{"cluster.advertise_link", restart, destination(&c.Cluster.AdvertiseLink)},
		{"cluster.join", restart, destinations(&c.Cluster.Join)},
		{"cluster.secret", restart, r.secret(&c.Cluster.Secret)},
		{"cluster.weight", restart, number(&c.Cluster.Weight, 1, 1000)},
		{"http.listen", restart, addresses(&c.HTTP.Listen)},
		{"http.tls", reload, choice(&c.HTTP.TLS, "on", "proxy", "off")},
		{"http.url", reload, publicURL(&c.HTTP.URL)},
		{"http.proxy_protocol_from", reload, networks(&c.HTTP.ProxyProtocolFrom)},

		{"api.listen", restart, addresses(&c.API.Listen)},
		{"api.tokens", reload, r.tokens(&c.API.Tokens)},
		{"api.player_jid", restart, playerJID(&c.API.PlayerJID)},

		{"webhooks", reload, r.webhooks(&c.Webhooks)},
	}
}
