// For kernels without CONFIG_NFT_QUEUE and CONFIG_NETFILTER_NETLINK_GLUE_CT, where the released enforcer enforces nothing:
// the same decisions by the xtables target NFQUEUE. policies-assets.sh adds this file to kube-network-policies; it does
// nothing unless KNP_XTABLES is set.
package dataplane

import (
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// byXtables says whether to do without both.
func byXtables() bool {
	return os.Getenv("KNP_XTABLES") != ""
}

// queueExpr returns nftables' queue statement, or the xtables target NFQUEUE, which nft_compat runs in nftables.
func queueExpr(num uint16, failOpen bool) expr.Any {
	if !byXtables() {
		queue := &expr.Queue{Num: num}
		if failOpen {
			queue.Flag = expr.QueueFlagBypass
		}
		return queue
	}
	// struct xt_NFQ_info_v3 (linux/netfilter/xt_NFQUEUE.h): first queue, number of queues, flags.
	info := make([]byte, 8)
	info[0], info[1] = byte(num), byte(num>>8)
	info[2] = 1
	if failOpen {
		info[4] = 1 // NFQ_FLAG_BYPASS
	}
	target := xt.Unknown(info)
	return &expr.Target{Name: "NFQUEUE", Rev: 3, Info: &target}
}

// labelAccepted labels the connection of each packet that was accepted. Elsewhere the verdict carries the label, which
// needs CONFIG_NETFILTER_NETLINK_GLUE_CT; accepted packets, and they alone, go on to the next chain of the hook.
func labelAccepted(nft *nftables.Conn, table *nftables.Table, label []byte) {
	if !byXtables() {
		return
	}
	chain := nft.AddChain(&nftables.Chain{
		Name:     "postrouting-accepted",
		Table:    table,
		Type:     nftables.ChainTypeFilter,
		Hooknum:  nftables.ChainHookPostrouting,
		Priority: nftables.ChainPriorityRef(*nftables.ChainPriorityNATSource - 4),
	})
	nft.AddRule(&nftables.Rule{
		Table: table,
		Chain: chain,
		Exprs: []expr.Any{
			&expr.Immediate{Register: 0x1, Data: label},
			&expr.Ct{Register: 0x1, SourceRegister: true, Key: expr.CtKeyLABELS},
		},
	})
}
