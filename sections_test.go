package chatd_test

import (
	"os"
	"strings"
	"testing"
)

// sections are those of XEP-0045 that say what a service does, with their titles. Each has a conversation in testdata, which is named by the title
// but where another name is given.
var sections = []struct{ number, title, file string }{
	{"5.1.1", "Privileges", "changing-roles"},
	{"5.1.2", "Default Roles", ""},
	{"5.1.3", "Changing Roles", ""},
	{"5.2.1", "Privileges", "changing-affiliations"},
	{"5.2.2", "Changing Affiliations", ""},
	{"6.1", "Discovering a MUC Service", ""},
	{"6.2", "Discovering the Features Supported by a MUC Service", ""},
	{"6.3", "Discovering Rooms", ""},
	{"6.4", "Querying for Room Information", ""},
	{"6.5", "Querying for Room Items", ""},
	{"6.6", "Querying a Room Occupant", ""},
	{"6.7", "Discovering Client Support for MUC", ""},
	{"7.1", "Order of Events", ""},
	{"7.2.1", "Basic MUC Protocol", ""},
	{"7.2.2", "Presence Broadcast", ""},
	{"7.2.3", "Non-Anonymous Rooms", ""},
	{"7.2.4", "Semi-Anonymous Rooms", ""},
	{"7.2.5", "Password-Protected Rooms", ""},
	{"7.2.6", "Members-Only Rooms", ""},
	{"7.2.7", "Banned Users", ""},
	{"7.2.8", "Nickname Conflict", ""},
	{"7.2.9", "Max Users", ""},
	{"7.2.10", "Locked Room", ""},
	{"7.2.11", "Nonexistent Room", ""},
	{"7.2.12", "Room Logging", ""},
	{"7.2.13", "Discussion History", ""},
	{"7.2.14", "Managing Discussion History", ""},
	{"7.2.15", "Room Subject", ""},
	{"7.2.16", "Live Messages", ""},
	{"7.2.17", "Error Conditions", ""},
	{"7.2.18", "Groupchat 1.0 Protocol", ""},
	{"7.3", "Occupant Modification of the Room Subject", ""},
	{"7.4", "Sending a Message to All Occupants", ""},
	{"7.5", "Sending a Private Message", ""},
	{"7.6", "Changing Nickname", ""},
	{"7.7", "Changing Availability Status", ""},
	{"7.8.1", "Direct Invitation", ""},
	{"7.8.2", "Mediated Invitation", ""},
	{"7.9", "Converting a One-to-One Chat Into a Multi-User Conference", ""},
	{"7.10", "Registering with a Room", ""},
	{"7.11", "Getting the Member List", ""},
	{"7.12", "Discovering Reserved Room Nickname", ""},
	{"7.13", "Requesting Voice", ""},
	{"7.14", "Exiting a Room", ""},
	{"8.1", "Modifying the Room Subject", ""},
	{"8.2", "Kicking an Occupant", ""},
	{"8.3", "Granting Voice to a Visitor", ""},
	{"8.4", "Revoking Voice from a Participant", ""},
	{"8.5", "Modifying the Voice List", ""},
	{"8.6", "Approving Voice Requests", ""},
	{"9.1", "Banning a User", ""},
	{"9.2", "Modifying the Ban List", ""},
	{"9.3", "Granting Membership", ""},
	{"9.4", "Revoking Membership", ""},
	{"9.5", "Modifying the Member List", ""},
	{"9.6", "Granting Moderator Status", ""},
	{"9.7", "Revoking Moderator Status", ""},
	{"9.8", "Modifying the Moderator List", ""},
	{"9.9", "Approving Registration Requests", ""},
	{"10.1.1", "General Considerations", "room-creation-is-restricted"},
	{"10.1.2", "Creating an Instant Room", ""},
	{"10.1.3", "Creating a Reserved Room", ""},
	{"10.2", "Subsequent Room Configuration", ""},
	{"10.2.1", "Notification of Configuration Changes", ""},
	{"10.3", "Granting Owner Status", ""},
	{"10.4", "Revoking Owner Status", ""},
	{"10.5", "Modifying the Owner List", ""},
	{"10.6", "Granting Admin Status", ""},
	{"10.7", "Revoking Admin Status", ""},
	{"10.8", "Modifying the Admin List", ""},
	{"10.9", "Destroying a Room", ""},
	{"11.1", "Service removes user because of error response", ""},
	{"11.2", "Service removes user because of service shut down", ""},
	{"14.3", "Privacy", "room-logging"},
	{"14.4", "Information Leaks", ""},
	{"14.5", "Anonymity", "non-anonymous-rooms"},
	{"14.6", "Denial of Service", ""},
	{"16.6", "Status Codes Registry", "status-codes"},
	{"17.1", "Addresses", ""},
	{"17.2", "Message", ""},
	{"17.3", "Presence", ""},
	{"17.4", "IQ", ""},
	{"18.1.1", "Allowable Traffic", ""},
	{"18.1.2", "Ghost Users", ""},
}

// TestSections checks that each has its conversation, which says in its first lines which section it is about.
func TestSections(t *testing.T) {
	for _, s := range sections {
		name := s.file
		if name == "" {
			name = strings.ReplaceAll(strings.ToLower(s.title), " ", "-")
		}
		text, err := os.ReadFile("testdata/xep-0045-" + name + ".txt")
		if err != nil {
			t.Errorf("§%s, %s: %v", s.number, s.title, err)
			continue
		}
		if !strings.HasPrefix(string(text), "# XEP-0045 §") {
			t.Errorf("%s cites no section", name)
		}
	}
}
