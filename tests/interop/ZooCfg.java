import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.zookeeper.server.quorum.QuorumPeer.QuorumServer;
import org.apache.zookeeper.server.quorum.QuorumPeerConfig;

/** Reads the zoo.cfg of each path on stdin with ZooKeeper's own parser, and prints one line of URL-encoded fields. */
public class ZooCfg {
    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Properties before = (Properties) System.getProperties().clone();
        for (String path; (path = in.readLine()) != null;) {
            System.setProperties((Properties) before.clone());
            QuorumPeerConfig.setStandaloneEnabled(true);
            QuorumPeerConfig.setReconfigEnabled(false);
            List<String> fields = new ArrayList<>();
            try {
                read(path, fields);
            } catch (Throwable error) {
                Throwable cause = error.getCause() != null ? error.getCause() : error;
                fields.clear();
                fields.add("refused=" + encode(cause.toString()));
            }
            System.out.println(String.join("&", fields));
        }
    }

    private static void read(String path, List<String> fields) throws Exception {
        QuorumPeerConfig config = new QuorumPeerConfig();
        config.parse(path);
        if (!config.isDistributed()) {
            fields.add("standalone=true");
            return;
        }
        if (!config.getServers().containsKey(config.getServerId())) { // QuorumPeer.start throws
            throw new IllegalArgumentException("My id " + config.getServerId() + " not in the peer list");
        }
        add(fields, "sid", config.getServerId());
        add(fields, "tickTime", config.getTickTime());
        add(fields, "initLimit", config.getInitLimit());
        add(fields, "syncLimit", config.getSyncLimit());
        add(fields, "dataDir", config.getDataDir());
        add(fields, "clientPortAddress", address(config.getClientPortAddress()));
        add(fields, "minSessionTimeout", config.getMinSessionTimeout());
        add(fields, "maxSessionTimeout", config.getMaxSessionTimeout());
        add(fields, "maxClientCnxns", config.getMaxClientCnxns());
        add(fields, "quorumListenOnAllIPs", config.getQuorumListenOnAllIPs());
        add(fields, "peerType", config.getPeerType());
        for (Map.Entry<Long, QuorumServer> entry : config.getServers().entrySet()) {
            QuorumServer server = entry.getValue();
            add(fields, "server." + entry.getKey(), String.join(" ", server.hostname,
                String.valueOf(server.addr.getOne().getPort()), String.valueOf(server.electionAddr.getOne().getPort()),
                server.type.toString(), server.isClientAddrFromStatic ? "" : address(server.clientAddr)));
        }
        for (String line : config.getQuorumVerifier().toString().split("\n")) {
            if (line.startsWith("group.") || line.startsWith("weight.")) {
                add(fields, line.substring(0, line.indexOf('=')), line.substring(line.indexOf('=') + 1));
            }
        }
    }

    private static String address(InetSocketAddress address) {
        return address == null ? "" : address.getHostString() + " " + address.getPort();
    }

    private static void add(List<String> fields, String key, Object value) {
        fields.add(encode(key) + "=" + encode(String.valueOf(value)));
    }

    private static String encode(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }
}
