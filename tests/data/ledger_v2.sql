BEGIN TRANSACTION;
CREATE TABLE attempts (
	id INTEGER NOT NULL, 
	store_hash VARCHAR(64) NOT NULL, 
	destination VARCHAR(16) NOT NULL, 
	order_id BIGINT NOT NULL, 
	run_id VARCHAR(32) NOT NULL, 
	number INTEGER NOT NULL, 
	started_at BIGINT NOT NULL, 
	ended_at BIGINT NOT NULL, 
	result VARCHAR(16) NOT NULL, 
	reason VARCHAR(300) NOT NULL, 
	sha256 VARCHAR(64), 
	answer_status INTEGER, 
	answer VARCHAR(200) NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "attempts" VALUES(1,'sandbox1','0123456789abcdef',100,'bff727c0701b52bf',1,1772366400000,1772366401000,'delivered','why','eaf1cba0fbfb3c7ac2b6a725d1325278ffce2f76e5b9b90af1edd641e0369591',200,'said');
INSERT INTO "attempts" VALUES(2,'sandbox1','0123456789abcdef',101,'bff727c0701b52bf',1,1772366401000,1772366402000,'unknown','why','b37df4a73a0159ae84efbc406e9128dd75375cab81c0617e3c9e86a4ba80fde7',NULL,'');
INSERT INTO "attempts" VALUES(3,'sandbox1','0123456789abcdef',102,'bff727c0701b52bf',1,1772366402000,1772366403000,'failed','why','931aa875045dfc3f660e0ade634f987db66f632faa68f8222cf3be661835ecea',422,'said');
CREATE TABLE bookmarks (
	store_hash VARCHAR(64) NOT NULL, 
	destination VARCHAR(16) NOT NULL, 
	begins_at BIGINT NOT NULL, 
	synced_until BIGINT NOT NULL, 
	PRIMARY KEY (store_hash, destination)
)
 WITHOUT ROWID

;
INSERT INTO "bookmarks" VALUES('sandbox1','0123456789abcdef',1772280003000,1772366403000);
CREATE TABLE callbacks (
	store_hash VARCHAR(64) NOT NULL, 
	destination VARCHAR(16) NOT NULL, 
	order_id BIGINT NOT NULL, 
	received_at BIGINT NOT NULL, 
	received INTEGER NOT NULL, 
	due_at BIGINT NOT NULL, 
	looks INTEGER NOT NULL, 
	PRIMARY KEY (store_hash, destination, order_id)
)
 WITHOUT ROWID

;
INSERT INTO "callbacks" VALUES('sandbox1','0123456789abcdef',104,1772366403000,1,1772366403000,0);
CREATE TABLE ledger_meta (
	"key" VARCHAR(40) NOT NULL, 
	value VARCHAR(200) NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "ledger_meta" VALUES('schema_version','2');
CREATE TABLE orders (
	store_hash VARCHAR(64) NOT NULL, 
	destination VARCHAR(16) NOT NULL, 
	order_id BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reason VARCHAR(300) NOT NULL, 
	sha256 VARCHAR(64), 
	modified_at BIGINT, 
	attempts INTEGER NOT NULL, 
	arrivals INTEGER NOT NULL, 
	deliveries INTEGER NOT NULL, 
	run_id VARCHAR(32), 
	first_seen_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	sent_at BIGINT, 
	delivered_at BIGINT, 
	answer_status INTEGER, 
	answer VARCHAR(200) NOT NULL, 
	state_before VARCHAR(16), 
	sha256_before VARCHAR(64), 
	PRIMARY KEY (store_hash, destination, order_id)
)
 WITHOUT ROWID

;
INSERT INTO "orders" VALUES('sandbox1','0123456789abcdef',100,'delivered','why','eaf1cba0fbfb3c7ac2b6a725d1325278ffce2f76e5b9b90af1edd641e0369591',1772359200000,1,1,1,NULL,1772366400000,1772366401000,1772366400000,1772366401000,200,'said',NULL,NULL);
INSERT INTO "orders" VALUES('sandbox1','0123456789abcdef',101,'unknown','why','b37df4a73a0159ae84efbc406e9128dd75375cab81c0617e3c9e86a4ba80fde7',1772359200000,1,1,0,NULL,1772366400000,1772366402000,1772366401000,NULL,NULL,'',NULL,NULL);
INSERT INTO "orders" VALUES('sandbox1','0123456789abcdef',102,'failed','why','931aa875045dfc3f660e0ade634f987db66f632faa68f8222cf3be661835ecea',1772359200000,1,0,0,NULL,1772366400000,1772366403000,1772366402000,NULL,422,'said',NULL,NULL);
INSERT INTO "orders" VALUES('sandbox1','0123456789abcdef',103,'skipped','status Incomplete',NULL,1772359200000,0,0,0,NULL,1772366400000,1772366400000,NULL,NULL,NULL,'',NULL,NULL);
INSERT INTO "orders" VALUES('sandbox1','0123456789abcdef',104,'pending','named by a callback, not fetched yet',NULL,NULL,0,0,0,NULL,1772366403000,1772366403000,NULL,NULL,NULL,'',NULL,NULL);
INSERT INTO "orders" VALUES('sandbox1','0123456789abcdef',105,'sending','','9011046f2d10bc408f59daefe0d61b106da5974888b2573690e21497f513ac43',1772359200000,1,0,0,'65bb5fbb1d31ddb0',1772366400000,1772366403000,1772366403000,NULL,NULL,'','pending',NULL);
CREATE TABLE runs (
	id VARCHAR(32) NOT NULL, 
	command VARCHAR(40) NOT NULL, 
	store_hash VARCHAR(64) NOT NULL, 
	destination VARCHAR(16) NOT NULL, 
	started_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	outcome VARCHAR(300) NOT NULL, 
	seen INTEGER NOT NULL, 
	delivered INTEGER NOT NULL, 
	skipped INTEGER NOT NULL, 
	failed INTEGER NOT NULL, 
	unknown INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "runs" VALUES('bff727c0701b52bf','backfill','sandbox1','0123456789abcdef',1772366400000,1772366403000,'done',5,1,1,1,1);
INSERT INTO "runs" VALUES('65bb5fbb1d31ddb0','sync','sandbox1','0123456789abcdef',1772366403000,NULL,'running',0,0,0,0,0);
CREATE INDEX orders_by_state ON orders (store_hash, destination, state);
CREATE INDEX attempts_by_order ON attempts (store_hash, destination, order_id);
CREATE INDEX runs_by_store ON runs (store_hash, destination, started_at);
COMMIT;
