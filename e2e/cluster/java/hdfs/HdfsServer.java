import java.io.File;
import java.io.InputStream;
import java.io.OutputStream;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.server.datanode.DataNode;
import org.apache.hadoop.hdfs.server.namenode.NameNode;
import org.apache.hadoop.metrics2.lib.DefaultMetricsSystem;

/**
 * A name node and one data node in one process, on fixed ports and a folder that outlives it.
 *
 * <p>Arguments: folder, address, then the ports of name node (RPC, HTTP) and data node (data, HTTP, IPC), and "once" to
 * end when a file has been written and read.
 */
public final class HdfsServer {
  public static void main(String[] arguments) {
    try {
      serve(arguments);
    } catch (Throwable error) {
      error.printStackTrace();
    }
    // Threads of a server that did not come up would keep the process alive.
    System.exit(1);
  }

  private static void serve(String[] arguments) throws Exception {
    String folder = arguments[0];
    String address = arguments[1] + ":";
    boolean fresh = !new File(folder, "name/current/VERSION").exists();
    Configuration conf = new HdfsConfiguration();
    conf.set("fs.defaultFS", "hdfs://" + address + arguments[2]);
    conf.set("dfs.namenode.rpc-address", address + arguments[2]);
    conf.set("dfs.namenode.http-address", address + arguments[3]);
    conf.set("dfs.datanode.address", address + arguments[4]);
    conf.set("dfs.datanode.http.address", address + arguments[5]);
    conf.set("dfs.datanode.ipc.address", address + arguments[6]);
    conf.set("dfs.datanode.hostname", arguments[1]);
    conf.set("dfs.namenode.name.dir", "file://" + folder + "/name");
    conf.set("dfs.datanode.data.dir", "file://" + folder + "/data");
    conf.setInt("dfs.replication", 1);
    // One data node: there is no other to put in place of one that failed.
    conf.set("dfs.client.block.write.replace-datanode-on-failure.policy", "NEVER");
    // No name service knows these addresses.
    conf.setBoolean("dfs.namenode.datanode.registration.ip-hostname-check", false);
    // After a restart it serves as soon as the blocks are reported, not 30 s later.
    conf.setInt("dfs.namenode.safemode.extension", 0);
    conf.setInt("dfs.heartbeat.interval", 1);
    // A full tmpfs of some MiB is a disk too.
    conf.setLong("dfs.datanode.du.reserved", 0);
    // Both daemons register some metrics under the same names.
    DefaultMetricsSystem.setMiniClusterMode(true);
    if (fresh) {
      NameNode.format(conf);
    }
    NameNode name = NameNode.createNameNode(new String[0], conf);
    DataNode data = DataNode.createDataNode(new String[0], conf);
    if (fresh) {
      FileSystem.get(conf).setPermission(new Path("/"), new FsPermission((short) 0777));
    }
    if (arguments.length > 7 && arguments[7].equals("once")) {
      tryOut(FileSystem.get(conf), data);
      System.exit(0);
    }
    name.join();
    data.shutdown();
  }

  private static void tryOut(FileSystem files, DataNode data) throws Exception {
    for (int i = 0; i < 600 && !data.isDatanodeFullyStarted(); i++) {
      Thread.sleep(100);
    }
    Path path = new Path("/tried");
    try (OutputStream out = files.create(path)) {
      out.write(1);
    }
    try (InputStream in = files.open(path)) {
      in.read();
    }
  }
}
