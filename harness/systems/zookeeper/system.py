"""Apache ZooKeeper 3.8 (Debian's package) as the system under test."""

from __future__ import annotations

from collections.abc import Mapping

from harness.systems.base import Claim, Command, Ensemble, Profile
from harness.systems.zookeeper.log import LOG, ZooKeeperLog
from harness.systems.zookeeper.settings import ZooKeeperSettings, zoo_cfg
from harness.workloads.zookeeper import ZooKeeperClients

JARS = "/usr/share/java"
_JAR_NAMES = (
    "zookeeper",
    "zookeeper-jute",
    "slf4j-api",
    "slf4j-log4j12",
    "log4j-1.2",
    "metrics-core",
    "snappy-java",
    "netty-all",
    "commons-cli",
)
"""Named one by one: a wildcard brings four SLF4J bindings, and which one wins (one of them logs nothing) is chance."""

_JVM = (
    "-Xms32m",
    "-Xmx128m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # starting costs half; nothing here runs long enough for the second compiler to pay
    "-XX:-UsePerfData",  # it would leave a file in /tmp after a kill
    "-Duser.timezone=UTC",
    "-Dzookeeper.jmx.log4j.disable=true",
)

_LOG4J = """\
log4j.rootLogger=INFO, CONSOLE
log4j.appender.CONSOLE=org.apache.log4j.ConsoleAppender
log4j.appender.CONSOLE.layout=org.apache.log4j.PatternLayout
log4j.appender.CONSOLE.layout.ConversionPattern=%d{ISO8601} [myid:%X{myid}] - %-5p [%t:%c{1}] - %m%n
log4j.logger.org.apache.zookeeper.server.quorum.Learner=TRACE
log4j.logger.org.apache.zookeeper.server.quorum.LearnerHandler=TRACE
log4j.logger.org.apache.zookeeper.server.NIOServerCnxn=WARN
log4j.logger.org.apache.zookeeper.server.command=WARN
"""


class ZooKeeper:
    """See `harness.systems.base.System`, and `Life` there."""

    Settings = ZooKeeperSettings
    logs = ("zoo.cfg", LOG)

    def __init__(self, settings: ZooKeeperSettings, ensemble: Ensemble) -> None:
        self._settings = settings
        self._ensemble = ensemble

    def profile(self) -> Profile:
        return Profile(
            "zookeeper",
            (
                *self._settings.bounds(),
                Claim(
                    "evidence", "reported", why="ZooKeeper's log does not say which epoch a follower acknowledged with"
                ),
            ),
            self._settings.detect_s,
            observers=True,
            groups=True,
            settings=self._settings.timing,
        )

    def identity(self, host: str) -> str:
        return str(self._ensemble.places[host].sid)

    def follow(self, host: str) -> ZooKeeperLog:
        return ZooKeeperLog(self._settings, self._ensemble, host)

    def clients(self) -> ZooKeeperClients:
        return ZooKeeperClients(self._settings.client_port)

    def cannot(self, host: str) -> Mapping[str, str]:
        return {"clock": "ZooKeeper's log has no other clock than the one that would be bent"}

    def life(self) -> ZooKeeper:
        return self

    def files(self, host: str) -> dict[str, bytes]:
        more = {
            "4lw.commands.whitelist": "*",
            "admin.enableServer": "false",
            "preAllocSize": "1024",  # KiB; by default each log file takes 64 MiB at once
            "maxClientCnxns": "0",
        }
        return {
            "zoo.cfg": zoo_cfg(self._settings, self._ensemble, host, more),
            "log4j.properties": _LOG4J.encode(),
            "data/myid": b"%d\n" % self._ensemble.places[host].sid,
        }

    def command(self, host: str) -> Command:
        directory = self._ensemble.places[host].directory
        classpath = ":".join([directory, *(f"{JARS}/{name}.jar" for name in _JAR_NAMES)])
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        argv = ("java", *_JVM, "-cp", classpath, main, f"{directory}/zoo.cfg")
        return Command(argv, directory, f"{directory}/{LOG}")
