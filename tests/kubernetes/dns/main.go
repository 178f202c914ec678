// Command cluster-dns answers the names of a Kubernetes cluster's services and pods.
//
// It follows Kubernetes' DNS specification for what a small cluster needs: A and SRV records of
// services (headless ones too), the pods' own names behind headless services, external names, and
// the reverse records of all of these. Questions about other names go to the upstream servers.
// cluster.sh builds it inside the source of Kubernetes, whose vendored libraries it uses.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const ttl = 5 // Seconds, as with CoreDNS.

type server struct {
	domain    string // With a dot at its end, as in "cluster.local.".
	upstreams []string
	services  listers.ServiceLister
	endpoints listers.EndpointsLister
}

// host is one address behind a service's name.
type host struct {
	name  string // The label before the service's name; empty for the cluster address.
	ip    net.IP
	ports []corev1.EndpointPort
}

// hosts lists the addresses of a service: its cluster address, or the ready pods of a headless one.
func (s *server) hosts(service *corev1.Service) []host {
	if ip := net.ParseIP(service.Spec.ClusterIP); ip != nil {
		var ports []corev1.EndpointPort
		for _, p := range service.Spec.Ports {
			ports = append(ports, corev1.EndpointPort{Name: p.Name, Port: p.Port, Protocol: p.Protocol})
		}
		return []host{{ip: ip, ports: ports}}
	}
	endpoints, err := s.endpoints.Endpoints(service.Namespace).Get(service.Name)
	if err != nil {
		return nil
	}
	var found []host
	for _, subset := range endpoints.Subsets {
		for _, address := range subset.Addresses {
			name := address.Hostname
			if name == "" {
				name = strings.NewReplacer(".", "-", ":", "-").Replace(address.IP)
			}
			if ip := net.ParseIP(address.IP); ip != nil {
				found = append(found, host{name: name, ip: ip, ports: subset.Ports})
			}
		}
	}
	return found
}

func (s *server) serviceName(service *corev1.Service) string {
	return service.Name + "." + service.Namespace + ".svc." + s.domain
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

// address makes the A or AAAA record of a name, or nothing when the kind was not asked for.
func address(name string, ip net.IP, kind uint16) dns.RR {
	if v4 := ip.To4(); v4 != nil {
		if kind == dns.TypeA || kind == dns.TypeANY {
			return &dns.A{Hdr: header(name, dns.TypeA), A: v4}
		}
	} else if kind == dns.TypeAAAA || kind == dns.TypeANY {
		return &dns.AAAA{Hdr: header(name, dns.TypeAAAA), AAAA: ip}
	}
	return nil
}

// cluster answers a question inside the cluster's domain. The last result says whether the name
// exists; a name may exist and have no record of the kind that was asked for.
func (s *server) cluster(name string, kind uint16) (answers, extra []dns.RR, exists bool) {
	inside := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(name), s.domain), ".")
	if inside == "" || inside == "svc" {
		return nil, nil, true
	}
	parts := strings.Split(inside, ".")
	if len(parts) == 2 && parts[1] == "svc" { // A namespace.
		all, _ := s.services.Services(parts[0]).List(labels.Everything())
		return nil, nil, len(all) > 0
	}
	if len(parts) < 3 || parts[len(parts)-1] != "svc" {
		return nil, nil, false
	}
	rest := parts[:len(parts)-3]
	service, err := s.services.Services(parts[len(parts)-2]).Get(parts[len(parts)-3])
	if err != nil {
		return nil, nil, false
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName && len(rest) == 0 {
		target := dns.Fqdn(service.Spec.ExternalName)
		answers = append(answers, &dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: target})
		if reply := s.forward(new(dns.Msg).SetQuestion(target, kind)); reply != nil {
			answers = append(answers, reply.Answer...)
		}
		return answers, nil, true
	}
	hosts := s.hosts(service)
	switch {
	case len(rest) == 0: // The service itself.
		for _, h := range hosts {
			if record := address(name, h.ip, kind); record != nil {
				answers = append(answers, record)
			}
		}
		return answers, nil, len(hosts) > 0
	case len(rest) == 1: // One pod behind a headless service.
		for _, h := range hosts {
			if h.name != "" && strings.EqualFold(h.name, rest[0]) {
				exists = true
				if record := address(name, h.ip, kind); record != nil {
					answers = append(answers, record)
				}
			}
		}
		return answers, nil, exists
	case len(rest) == 2 && strings.HasPrefix(rest[0], "_") && strings.HasPrefix(rest[1], "_"):
		for _, h := range hosts {
			target := s.serviceName(service)
			if h.name != "" {
				target = h.name + "." + target
			}
			for _, p := range h.ports {
				if p.Name != rest[0][1:] || !strings.EqualFold(string(p.Protocol), rest[1][1:]) {
					continue
				}
				exists = true
				if kind != dns.TypeSRV && kind != dns.TypeANY {
					continue
				}
				answers = append(answers, &dns.SRV{Hdr: header(name, dns.TypeSRV), Weight: 100,
					Port: uint16(p.Port), Target: target})
				extra = append(extra, address(target, h.ip, dns.TypeANY))
			}
		}
		return answers, extra, exists
	}
	return nil, nil, false
}

// reverse finds the names of an address that belongs to the cluster.
func (s *server) reverse(name string) (answers []dns.RR) {
	all, _ := s.services.List(labels.Everything())
	for _, service := range all {
		for _, h := range s.hosts(service) {
			if back, err := dns.ReverseAddr(h.ip.String()); err != nil || !strings.EqualFold(back, name) {
				continue
			}
			target := s.serviceName(service)
			if h.name != "" {
				target = h.name + "." + target
			}
			answers = append(answers, &dns.PTR{Hdr: header(name, dns.TypePTR), Ptr: target})
		}
	}
	return answers
}

// forward asks the upstream servers in turn; nil means that none of them answered.
func (s *server) forward(question *dns.Msg) *dns.Msg {
	for _, protocol := range []string{"udp", "tcp"} {
		client := &dns.Client{Net: protocol, Timeout: 2 * time.Second}
		for _, upstream := range s.upstreams {
			reply, _, err := client.Exchange(question, upstream)
			if err == nil && !(reply.Truncated && protocol == "udp") {
				return reply
			}
		}
	}
	return nil
}

func (s *server) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	reply := new(dns.Msg).SetReply(question)
	reply.RecursionAvailable = true
	defer func() {
		if w.LocalAddr().Network() == "udp" {
			size := dns.MinMsgSize
			if option := question.IsEdns0(); option != nil {
				size = int(option.UDPSize())
			}
			if reply.Compress = true; reply.Len() > size {
				reply.Extra = nil
			}
			if reply.Len() > size { // The client asks again over TCP.
				reply.Truncated, reply.Answer = true, nil
			}
		}
		w.WriteMsg(reply)
	}()
	if len(question.Question) != 1 {
		reply.Rcode = dns.RcodeFormatError
		return
	}
	name, kind := question.Question[0].Name, question.Question[0].Qtype
	if dns.IsSubDomain(s.domain, strings.ToLower(name)) {
		var exists bool
		reply.Authoritative = true
		reply.Answer, reply.Extra, exists = s.cluster(name, kind)
		if !exists {
			reply.Rcode = dns.RcodeNameError
		}
		if len(reply.Answer) == 0 {
			reply.Ns = []dns.RR{&dns.SOA{Hdr: header(s.domain, dns.TypeSOA), Ns: "ns.dns." + s.domain,
				Mbox: "hostmaster." + s.domain, Serial: uint32(time.Now().Unix()), Refresh: 7200,
				Retry: 1800, Expire: 86400, Minttl: ttl}}
		}
		return
	}
	if kind == dns.TypePTR {
		if reply.Answer = s.reverse(name); len(reply.Answer) > 0 {
			reply.Authoritative = true
			return
		}
	}
	if forwarded := s.forward(question); forwarded != nil {
		forwarded.Id = question.Id
		reply = forwarded
		return
	}
	reply.Rcode = dns.RcodeServerFailure
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	listen := flag.String("listen", "127.0.0.1:53", "where to answer, over UDP and TCP")
	domain := flag.String("domain", "cluster.local", "the cluster's domain")
	resolvConf := flag.String("resolv-conf", "/etc/resolv.conf", "names the upstream servers")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatalf("The kubeconfig %q can't be used: %v", *kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		log.Fatalf("No client for the API server could be made: %v", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	s := &server{domain: dns.Fqdn(*domain), services: factory.Core().V1().Services().Lister(),
		endpoints: factory.Core().V1().Endpoints().Lister()}
	if upstream, err := dns.ClientConfigFromFile(*resolvConf); err == nil {
		for _, address := range upstream.Servers {
			s.upstreams = append(s.upstreams, net.JoinHostPort(address, upstream.Port))
		}
	}
	services := factory.Core().V1().Services().Informer().HasSynced
	endpoints := factory.Core().V1().Endpoints().Informer().HasSynced
	stop := make(chan struct{})
	factory.Start(stop)
	cache.WaitForCacheSync(stop, services, endpoints)
	failed := make(chan error)
	for _, protocol := range []string{"udp", "tcp"} {
		listener := &dns.Server{Addr: *listen, Net: protocol, Handler: s}
		go func() { failed <- listener.ListenAndServe() }()
	}
	fmt.Printf("Answering for %s on %s.\n", s.domain, *listen)
	log.Fatalf("Can't answer on %s: %v", *listen, <-failed)
}
