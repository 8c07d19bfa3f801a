package xmlstream

import "strings"

// streams are inputs, good and bad, that the fuzz targets start from.
var streams = append([]string{
	"<?xml version='1.0' encoding='UTF-8'?>\n" + header + strings.Join(stanzas, "\n ") + "</stream:stream>\n",
	header + `<message><body>]] &gt; &#x41;&#233; ü € 😀<![CDATA[<x>&]]]]></body></message></stream:stream>`,
	header + `<a:b xmlns:a="u:1" a:c='1' c='2'><a:d xmlns:a="u:2"/><e xmlns=""><f/></e></a:b ></stream:stream >`,
	header + `<iq xml:lang='de'><stream:x/></iq></stream:stream>`,
	`<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns:c='jabber:client' xmlns='d:1'>` +
		`<c:message c:a='1'><c:body/><x a="'"/><y xmlns='q:1'><c:z/><z/></y></c:message><message/></s:stream>`,
	`<stream xmlns='http://etherx.jabber.org/streams'><message xmlns='jabber:client'><stream:x xmlns:stream='u:1'/></message></stream>`,
	`<r xmlns:a='u:1' xmlns:ns0='u:2'><a:b xmlns=''><c/><ns0:c/></a:b><a:b xmlns='u:3'><c><d/></c></a:b></r>`,
	`<r><x:a xmlns:x='u&amp;v' xmlns:y='u&#38;v' x:b='' y:c=''/></r>`,
	`<r><a><b><c><d><e><f/></e></d></c></b></a></r>`,
	`<r/>`,
	byteOrderMark + `<r xml:lang=''></r>`,
}, malformed...)

// malformed are streams that are not well-formed, for the sake of the fuzz
// targets; TestErrors has them with their errors.
var malformed = func() (in []string) {
	for _, c := range errorCases {
		in = append(in, c.in)
	}
	return in
}()
